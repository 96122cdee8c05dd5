"""How a label of a data set is said to a model: names, paraphrases, descriptions, examples.

A zero-shot model that has only seen `track_order` breaks on "Track my order" and on "Where is my parcel?". So every
label is worn in several ways during training, and examples of its class stand in for long descriptions.
"""

from __future__ import annotations

import random
import re

SAID: dict[str, tuple[str, ...]] = {
    "positive": (
        "positive",
        "positive sentiment",
        "a positive opinion",
        "praise",
        "good",
        "a favourable review",
        "happy customer",
    ),
    "negative": (
        "negative",
        "negative sentiment",
        "a negative opinion",
        "a complaint",
        "bad",
        "an unfavourable review",
        "unhappy customer",
    ),
    "neutral": ("neutral", "neutral sentiment", "no opinion", "a statement of fact", "neither positive nor negative"),
    "spam": ("spam", "unsolicited advertising", "a scam message", "junk message", "prize fraud"),
    "ham": ("ordinary message", "personal message", "not spam", "a message to a friend"),
    "toxic": (
        "toxic",
        "insult",
        "offensive language",
        "rude or hateful",
        "profanity",
        "abusive message",
        "toxic comment",
    ),
    "polite": ("polite", "harmless comment", "clean language", "civil", "not toxic"),
    "hate": ("hate speech", "hateful", "attacks a group of people", "racism", "hate"),
    "sexist": ("sexism", "sexist", "demeaning to women", "misogyny"),
    "injection": (
        "prompt injection",
        "attempt to override instructions",
        "tries to manipulate the assistant",
        "jailbreak attempt",
        "jailbreak",
        "asks to ignore previous instructions",
    ),
    "task": ("ordinary request", "a normal task for an assistant", "harmless request", "benign"),
    "harmful": (
        "harmful request",
        "asks for help with a crime",
        "dangerous or illegal",
        "unsafe",
        "asks for harmful content",
    ),
    "math": ("math", "a mathematics problem", "calculation", "arithmetic or algebra"),
    "code": ("code", "programming", "a programming task", "write a function", "software development"),
    "factual_question": ("factual question", "trivia", "general knowledge", "a question about a fact"),
    "commonsense_question": ("commonsense question", "everyday reasoning", "common sense"),
    "exam_question": ("exam question", "an academic question", "a test question"),
    "logic_puzzle": ("logic puzzle", "a riddle", "deductive reasoning"),
    "constrained_writing": ("constrained writing", "write a sentence with given words", "creative writing"),
    "greeting": ("greeting", "hello", "the user says hello", "good morning", "small talk: greeting"),
    "farewell": ("farewell", "goodbye", "the user says goodbye", "end of the conversation"),
    "gratitude": ("gratitude", "thanks", "the user says thank you", "thankful"),
    "apology": ("apology", "the user apologises", "sorry"),
    "praise": ("praise", "a compliment", "the user is pleased"),
    "criticism": ("criticism", "the user is annoyed with the assistant", "complaint about the bot"),
    "affirm": ("yes", "agreement", "the user agrees", "confirmation"),
    "deny": ("no", "refusal", "the user declines"),
    "joy": ("joy", "happiness", "joyful", "happy"),
    "sadness": ("sadness", "sad", "unhappy", "sorrow"),
    "anger": ("anger", "angry", "furious"),
    "fear": ("fear", "afraid", "scared"),
    "love": ("love", "affection", "loving"),
    "surprise": ("surprise", "surprised", "astonishment"),
    "disgust": ("disgust", "disgusted", "repulsed"),
    "annoyance": ("annoyance", "annoyed", "irritation"),
    "amusement": ("amusement", "funny", "amused", "humour"),
    "confusion": ("confusion", "confused", "does not understand"),
    "curiosity": ("curiosity", "curious", "wants to know more"),
    "utility": ("utilities and everyday tools", "alarms, timers and calculations", "utility"),
    "meta": ("questions about the assistant's settings", "assistant settings", "meta"),
    "home": ("home and household", "smart home, lists and reminders", "home"),
    "work": ("work and office", "jobs, meetings and payroll", "work"),
    "oos": ("something else",),
    "pto_request": ("request time off", "pto request", "ask for holiday leave"),
    "pto_balance": ("time off left", "pto balance", "how much leave is left"),
    "apr": ("annual percentage rate", "apr", "interest on a credit card"),
    "mpg": ("fuel economy", "mpg", "miles per gallon"),
    "w2": ("w2 tax form", "w2", "wage statement"),
    "GetWeather": ("get weather", "weather", "weather forecast"),
    "PlayMusic": ("play music", "music", "listen to a song"),
    "BookRestaurant": ("book restaurant", "restaurant reservation", "table booking"),
    "SearchCreativeWork": ("search creative work", "find a book, film or show", "look up a title"),
    "RateBook": ("rate book", "give a book a rating", "book review score"),
    "AddToPlaylist": ("add to playlist", "put a song on a playlist", "playlist"),
    "SearchScreeningEvent": ("search screening event", "movie times", "film showtimes"),
}

TEMPLATES = (
    "This text is about {}.",
    "This text is about {}.",
    "This text is about {}.",
    "This example is {}.",
    "The topic is {}.",
    "The user wants: {}.",
    "The user asks about {}.",
    "This is about {}.",
    "The intent is {}.",
)
FEELING = (
    "This text is about {}.",
    "This text expresses {}.",
    "The sentiment of this text is {}.",
    "This review is {}.",
    "The author feels {}.",
)
FEELING_POOLS = frozenset({"sentiment", "polarity", "emotion"})
_DRESS = (
    "{}",
    "{}",
    "{}",
    "{}",
    "questions about {}",
    "{} request",
    "the user asks about {}",
    "about {}",
    "help with {}",
    "topic: {}",
)


def spoken(name: str) -> str:
    """`track_order`, `TrackOrder` and `track.order` as words: "track order"."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return " ".join(re.sub(r"[_./-]+", " ", name).split()).lower()


def say(rng: random.Random, name: str, examples: list[str] | None = None, *, plainly: float = 0.5) -> str:
    """One way of saying a label.

    Args:
        rng: Decides which.
        name: The label as the data set writes it.
        examples: Texts of the class; one of them may stand in for a description.
        plainly: How often to use just the words of the name.
    """
    if rng.random() < plainly:
        return name if rng.random() < 0.15 else _case(rng, spoken(name))
    if examples and rng.random() < 0.3:
        return rng.choice(examples)
    if name in SAID:
        return _case(rng, rng.choice(SAID[name]))
    return _case(rng, rng.choice(_DRESS).format(spoken(name)))


def hypothesis(rng: random.Random, pool: str, name: str) -> str:
    """A label as an NLI hypothesis."""
    template = rng.choice(FEELING if pool in FEELING_POOLS else TEMPLATES)
    words = rng.choice(SAID[name]) if name in SAID and rng.random() < 0.5 else spoken(name)
    return template.format(words)


def _case(rng: random.Random, words: str) -> str:
    return words[:1].upper() + words[1:] if rng.random() < 0.25 else words
