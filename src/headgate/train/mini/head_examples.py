"""From the rows of each set to the examples of the heads."""

from __future__ import annotations

from headgate.train.mini import harmless, phrases
from headgate.train.mini.data import Examples, Reader, Row

POSITIVE = frozenset(
    {
        *("admiration", "amusement", "approval", "caring", "excitement", "gratitude"),
        *("joy", "love", "optimism", "pride", "relief"),
    }
)
# Where a set says toxic or clean, and in which word.
_TOXICITY = (
    ("paradetox", "toxic", ("toxic",)),
    ("paradetox", "clean", ("neutral",)),
    ("hatemoji_build", "toxic", ("hateful",)),
    ("hatemoji_build", "clean", ("not hateful",)),
    ("edos_sexism", "toxic", ("sexist",)),
    ("edos_sexism", "clean", ("not sexist",)),
    ("hatexplain", "toxic", ("hatespeech", "offensive")),
    ("hatexplain", "clean", ("normal",)),
    ("hate_offensive_davidson", "toxic", ("hate", "offensive")),
    ("hate_offensive_davidson", "clean", ("neither",)),
    ("toxic_spans", "toxic", ("toxic",)),
)
_MAX_CHARACTERS = 4000


def _head(found: Examples, head: str, name: str, source: str, texts: list[str]) -> None:
    found.heads.setdefault(head, {}).setdefault(name, {})[source] = [text[:_MAX_CHARACTERS] for text in texts]


def _labels(found: Examples, pool: str, *names: str) -> list[str]:
    return [item.text for item in found.choices.get(pool, []) if not names or set(item.truth) & set(names)]


def _ordinary(found: Examples) -> dict[str, list[str]]:
    """Text that no guard should fire on and that neither greets nor thanks."""
    return {
        "clinc150": [
            item.text
            for item in found.choices.get("clinc150", [])
            if item.truth[0] not in ("greeting", "thank_you", "goodbye")
        ],
        "snips": _labels(found, "snips"),
        "subjects": _labels(found, "subjects"),
        "tasks": _labels(found, "tasks"),
        "questions": [query.query for queries in found.queries.values() for query in queries],
        "passages": [query.positive for queries in found.queries.values() for query in queries],
        "premises": [pair.premise for pairs in found.pairs.values() for pair in pairs],
    }


def intent_and_sentiment(reader: Reader, found: Examples) -> None:
    """Greetings and thanks, and what is said with pleasure or displeasure."""
    smalltalk: dict[str, list[str]] = {}
    for row in reader.train("smalltalk_ggu", "text"):
        smalltalk.setdefault(row["label"], []).append(row["text"])
    clinc = {
        name: [item.text for item in found.choices.get("clinc150", []) if item.truth == (name,)]
        for name in ("greeting", "thank_you", "goodbye")
    }
    _head(found, "intent", "greeting", "smalltalk_ggu", smalltalk.get("greeting", []) + clinc["greeting"])
    _head(found, "intent", "greeting", "written", reader.written(phrases.GREETINGS))
    _head(found, "intent", "gratitude", "smalltalk_ggu", smalltalk.get("gratitude", []) + clinc["thank_you"])
    _head(found, "intent", "gratitude", "written", reader.written(phrases.THANKS))
    short = [
        r["text"]
        for r in reader.train("goemotions", "text")
        if r["labels"] == ["gratitude"] and len(r["text"].split()) < 12
    ]
    _head(found, "intent", "gratitude", "goemotions", short)
    for source, texts in _ordinary(found).items():
        _head(found, "intent", "other", source, texts)
    _head(
        found,
        "intent",
        "other",
        "smalltalk_ggu",
        [t for name in smalltalk for t in smalltalk[name] if name not in ("greeting", "gratitude")],
    )
    _head(
        found,
        "intent",
        "other",
        "emotion",
        [i.text for i in found.choices.get("emotion", []) if "gratitude" not in i.truth],
    )
    for name in ("positive", "negative", "neutral"):
        _head(found, "sentiment", name, "goemotions", _labels(found, "sentiment", name))
        _head(found, "sentiment", name, "sentiment_sentences_uci", _labels(found, "polarity", name))
    for source in ("clinc150", "questions", "passages", "subjects"):
        _head(found, "sentiment", "neutral", source, _ordinary(found)[source])


def toxicity(reader: Reader, found: Examples) -> None:
    """Insults and hatred, and what is clean."""

    def put(name: str, source: str, texts: list[str]) -> None:
        _head(found, "toxicity", name, source, texts)

    for source, ours, theirs in _TOXICITY:
        put(ours, source, [r["text"] for r in reader.train(source, "text") if r["label"] in theirs])
    for source, texts in _ordinary(found).items():
        put("clean", source, texts)
    put("clean", "sentiment_sentences_uci", _labels(found, "polarity"))
    put("clean", "emotion", _labels(found, "emotion", *POSITIVE, "sadness", "fear", "confusion", "curiosity"))
    put("clean", "written", reader.written(phrases.LOOKALIKES))


def guards(reader: Reader, found: Examples) -> None:
    """Jailbreaks, injections, harmful requests and sexism; what one head must catch is no other's harmless text."""

    def put(head: str, name: str, source: str, texts: list[str]) -> None:
        _head(found, head, name, source, texts)

    jailbreaks = list(reader.train("jailbreak_prompts", "text", label="label", known=("jailbreak", "benign")))
    deepset = list(reader.train("prompt_injections_deepset", "text", label="label", known=("injection", "benign")))
    bipia = list(reader.train("bipia_indirect_injection", "text", label="label", known=("injection", "benign")))
    harmful = [r for r in reader.train("harmful_prompts", "text") if "dolly" not in r["source"]]
    sexism = list(reader.train("edos_sexism", "text"))
    attacks = [_around(r["text"], r["attack"]) for r in bipia if r["label"] == "injection"]
    documents = [part for r in bipia for part in _without(r["text"], r["attack"] if r["label"] == "injection" else "")]
    put("jailbreak", "jailbreak", "jailbreak_prompts", _of(jailbreaks, "jailbreak"))
    put("injection", "injection", "prompt_injections_deepset", _of(deepset, "injection"))
    put("injection", "injection", "bipia_indirect_injection", attacks)
    put("injection", "injection", "written", reader.written(phrases.INJECTIONS))
    put("harmful", "harmful", "harmful_prompts", _of(harmful, "harmful"))
    put("sexism", "sexist", "edos_sexism", _of(sexism, "sexist"))
    put("sexism", "clean", "edos_sexism", _of(sexism, "not sexist"))
    asked = {"harmful_prompts": _of(harmful, "harmful")}
    calm = {
        "jailbreak_prompts": _of(jailbreaks, "benign"),
        "prompt_injections_deepset": _of(deepset, "benign"),
        "bipia_indirect_injection": documents,
        "harmless_prompts": _of(harmful, "benign"),
        "written": reader.written(phrases.LOOKALIKES),
        "smalltalk_ggu": [r["text"] for r in reader.train("smalltalk_ggu", "text")],
        **_ordinary(found),
    }
    rude = {"toxic": [text for texts in found.heads["toxicity"]["toxic"].values() for text in texts]}
    plain = {source: texts for source, texts in calm.items() if "prompt" not in source}
    alike = {"look-alikes": reader.written(harmless.HARMLESS)}
    others = {
        "jailbreak": calm | asked | rude,
        "injection": calm | asked | rude,
        "harmful": calm | alike,
        "sexism": plain,
    }
    for head, sources in others.items():
        for source, texts in sources.items():
            put(head, "clean" if head == "sexism" else "benign", source, texts)


def _of(rows: list[Row], label: str) -> list[str]:
    return [row["text"] for row in rows if row["label"] == label]


def _around(text: str, attack: str, width: int = 600) -> str:
    """A stretch of `text` that holds the whole attack: a row that is cut before its attack would be benign."""
    at = max(text.find(attack), 0)
    start = max(0, min(at - (width - len(attack)) // 2, len(text) - width))
    return text[start : max(start + width, at + len(attack))]


def _without(text: str, attack: str, width: int = 600) -> list[str]:
    """The stretches of `text` that no character of the attack touches: what stands beside an attack is harmless."""
    at = text.find(attack) if attack else len(text)
    if at < 0:
        return []
    rest = (text[:at], text[at + len(attack) :])
    return [
        part for side in rest for start in range(0, len(side), width) if len(part := side[start : start + width]) > 80
    ]
