"""From the rows of each set to the examples of each task."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from headgate.errors import DataError
from headgate.train.mini import phrases
from headgate.train.mini.data import NLI_CLASSES, NOT_ENTAILED, Choice, Examples, Pair, Query, Reader, Row

POSITIVE = frozenset(
    {
        *("admiration", "amusement", "approval", "caring", "excitement", "gratitude"),
        *("joy", "love", "optimism", "pride", "relief"),
    }
)
NEGATIVE = frozenset(
    {
        *("anger", "annoyance", "disappointment", "disapproval", "disgust", "embarrassment"),
        *("fear", "grief", "nervousness", "remorse", "sadness"),
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
# Rows of these tasks are under other terms than the set's own.
_LLM_TASKS_DROPPED = frozenset({"natural_qa", "arc_challenge", "openbook_qa"})
_MAX_CHARACTERS = 4000


def load(root: Path, *, seed: int = 0) -> Examples:
    """Read every set under `root` and make the examples of every task.

    Raises:
        DataError: A row is wrong, or a task is left without examples.
    """
    reader, found = Reader(root), Examples()
    rng = random.Random(seed)
    for part in (_nli, _choices, _queries, _intent_and_sentiment, _toxicity, _guards):
        part(reader, found)
    rng.shuffle(found.plain)
    found.dropped = reader.dropped
    for head, classes in found.heads.items():
        for name, by_source in classes.items():
            classes[name] = {source: texts for source, texts in by_source.items() if texts}
            if not classes[name]:
                raise DataError(f"head {head}: no training text for class {name!r} under {root}")
    if not (found.pairs and found.choices and found.queries):
        raise DataError(f"no NLI pairs, labelled texts or queries under {root}; each task needs some")
    return found


def _nli(reader: Reader, found: Examples) -> None:
    for name in ("mnli", "wanli", "snli", "vitaminc_synthetic", "semi_automatic_nli", "dnc_recast"):
        known = ("entailment", "not_entailment") if name == "dnc_recast" else NLI_CLASSES
        pairs = []
        for row in reader.train(name, "premise", "hypothesis", label="label", known=known):
            if name == "semi_automatic_nli" and not row["subset"].endswith("_wiki"):
                continue  # The news subsets are Gigaword.
            label = NLI_CLASSES.index(row["label"]) if row["label"] in NLI_CLASSES else NOT_ENTAILED
            pairs.append(Pair(row["premise"], row["hypothesis"], label))
        if pairs:
            found.pairs[name] = pairs
            found.plain += [pair.premise for pair in pairs[:4000]] + [pair.hypothesis for pair in pairs[:2000]]


def _choices(reader: Reader, found: Examples) -> None:
    """Labelled texts for zero-shot classification, by pool of labels."""
    for name, sources, label_of in _POOLS:
        items = [Choice(row["text"], label_of(row)) for source in sources for row in reader.train(source, "text")]
        _pool(found, name, items)
    titled = [(title.split(" (")[0], text) for title, text in reader.passages("nq_passages").values() if title]
    _pool(found, "titles", [Choice(text[:600], (title,)) for title, text in titled if "List of" not in title])
    for name in ("clinc150", "snips", "subjects", "tasks", "spam", "emotion"):
        found.plain += [item.text for item in found.choices.get(name, [])[:6000]]


def _pool(found: Examples, name: str, items: list[Choice]) -> None:
    kept = [item for item in items if item.truth]
    if kept:
        found.choices[name] = kept
        found.pools[name] = tuple(sorted({label for item in kept for label in item.truth}))


def polarity(labels: list[str]) -> str | None:
    """Positive, negative or neutral where the emotions agree, else None."""
    names = set(labels)
    if names == {"neutral"}:
        return "neutral"
    if names <= POSITIVE:
        return "positive"
    return "negative" if names <= NEGATIVE else None


def _but(field: str, *dropped: str) -> Callable[[Row], tuple[str, ...]]:
    """Reads a label; a row whose label is one of `dropped` has none."""
    return lambda row: () if row[field] in dropped else (row[field],)


def _binary(word: str, ours: str, other: str) -> Callable[[Row], tuple[str, ...]]:
    """Reads a label of two classes under our names."""
    return lambda row: (ours,) if row["label"] == word else (other,)


def _task(row: Row) -> tuple[str, ...]:
    return () if row["task"] in _LLM_TASKS_DROPPED else (row["label"],)


def _hate(row: Row) -> tuple[str, ...]:
    return {"hatespeech": ("hate",), "normal": ("polite",)}.get(row["label"], ())


def _harm(row: Row) -> tuple[str, ...]:
    return () if "dolly" in row["source"] else _binary("harmful", "harmful", "task")(row)


def _emotions(row: Row) -> tuple[str, ...]:
    return () if "neutral" in row["labels"] else tuple(row["labels"])


def _polarity(row: Row) -> tuple[str, ...]:
    name = polarity(row["labels"])
    return () if name is None else (name,)


# Pool of labels, the sets it is read from, and how a row's labels are read: () where it has none to learn.
_POOLS: tuple[tuple[str, tuple[str, ...], Callable[[Row], tuple[str, ...]]], ...] = (
    ("clinc150", ("clinc150",), _but("label", "oos")),
    ("clinc150_domains", ("clinc150",), _but("domain", "oos")),
    ("snips", ("snips",), _but("label")),
    ("smalltalk", ("smalltalk_ggu",), _but("label", "other_smalltalk")),
    ("subjects", ("mmlu_domain_routing",), _but("label", "miscellaneous", "moral_scenarios", "global_facts")),
    ("tasks", ("llm_task_routing",), _task),
    ("polarity", ("sentiment_sentences_uci",), _but("label")),
    ("spam", ("sms_spam",), _but("label")),
    ("toxicity", ("paradetox",), _binary("toxic", "toxic", "polite")),
    ("hate", ("hatexplain",), _hate),
    ("sexism", ("edos_sexism",), _binary("sexist", "sexist", "polite")),
    ("harm", ("harmful_prompts",), _harm),
    ("emotion", ("goemotions",), _emotions),
    ("sentiment", ("goemotions",), _polarity),
    ("guard", ("jailbreak_prompts", "prompt_injections_deepset"), _binary("benign", "task", "injection")),
)


def _queries(reader: Reader, found: Examples) -> None:
    for name in ("nq_passages", "squad_sentences", "medquad", "boolq_retrieval", "pubmedqa_retrieval"):
        docs = {key: f"{title} {text}".strip()[:1500] for key, (title, text) in reader.passages(name).items()}
        queries = []
        for row in reader.train(name, "query"):
            good = [docs[key] for key in row["positives"] if key in docs]
            bad = tuple(docs[key] for key in row["negatives"] if key in docs and key not in row["positives"])
            if good and bad:
                queries.append(Query(row["query"], good[0], bad))
        if queries:
            found.queries[name] = queries
            found.plain += [query.query for query in queries[:4000]] + [query.positive for query in queries[:6000]]


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


def _intent_and_sentiment(reader: Reader, found: Examples) -> None:
    smalltalk: dict[str, list[str]] = {}
    for row in reader.train("smalltalk_ggu", "text"):
        smalltalk.setdefault(row["label"], []).append(row["text"])
    clinc = {
        name: [item.text for item in found.choices.get("clinc150", []) if item.truth == (name,)]
        for name in ("greeting", "thank_you", "goodbye")
    }
    _head(found, "intent", "greeting", "smalltalk_ggu", smalltalk.get("greeting", []) + clinc["greeting"])
    _head(found, "intent", "greeting", "written", phrases.GREETINGS)
    _head(found, "intent", "gratitude", "smalltalk_ggu", smalltalk.get("gratitude", []) + clinc["thank_you"])
    _head(found, "intent", "gratitude", "written", phrases.THANKS)
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


def _toxicity(reader: Reader, found: Examples) -> None:
    def put(name: str, source: str, texts: list[str]) -> None:
        _head(found, "toxicity", name, source, texts)

    for source, ours, theirs in _TOXICITY:
        put(ours, source, [r["text"] for r in reader.train(source, "text") if r["label"] in theirs])
    for source, texts in _ordinary(found).items():
        put("clean", source, texts)
    put("clean", "sentiment_sentences_uci", _labels(found, "polarity"))
    put("clean", "emotion", _labels(found, "emotion", *POSITIVE, "sadness", "fear", "confusion", "curiosity"))
    put("clean", "written", phrases.LOOKALIKES)


def _guards(reader: Reader, found: Examples) -> None:
    """Jailbreaks, injections, harmful requests and sexism; what one head must catch is no other's harmless text."""

    def put(head: str, name: str, source: str, texts: list[str]) -> None:
        _head(found, head, name, source, texts)

    jailbreaks = list(reader.train("jailbreak_prompts", "text", label="label", known=("jailbreak", "benign")))
    deepset = list(reader.train("prompt_injections_deepset", "text", label="label", known=("injection", "benign")))
    bipia = list(reader.train("bipia_indirect_injection", "text", label="label", known=("injection", "benign")))
    harmful = [r for r in reader.train("harmful_prompts", "text") if "dolly" not in r["source"]]
    sexism = list(reader.train("edos_sexism", "text"))
    attacks = [_around(r["text"], r["attack"]) for r in bipia if r["label"] == "injection"]
    documents = [part for r in bipia if r["label"] == "benign" for part in (r["text"][:600], r["text"][-600:])]
    put("jailbreak", "jailbreak", "jailbreak_prompts", _of(jailbreaks, "jailbreak"))
    put("injection", "injection", "prompt_injections_deepset", _of(deepset, "injection"))
    put("injection", "injection", "bipia_indirect_injection", attacks)
    put("injection", "injection", "written", phrases.INJECTIONS)
    put("harmful", "harmful", "harmful_prompts", _of(harmful, "harmful"))
    put("sexism", "sexist", "edos_sexism", _of(sexism, "sexist"))
    put("sexism", "clean", "edos_sexism", _of(sexism, "not sexist"))
    asked = {"harmful_prompts": _of(harmful, "harmful")}
    calm = {
        "jailbreak_prompts": _of(jailbreaks, "benign"),
        "prompt_injections_deepset": _of(deepset, "benign"),
        "bipia_indirect_injection": documents,
        "harmless_prompts": _of(harmful, "benign"),
        "written": phrases.LOOKALIKES,
        "smalltalk_ggu": [r["text"] for r in reader.train("smalltalk_ggu", "text")],
        **_ordinary(found),
    }
    rude = {"toxic": [text for texts in found.heads["toxicity"]["toxic"].values() for text in texts]}
    plain = {source: texts for source, texts in calm.items() if "prompt" not in source}
    others = {"jailbreak": calm | asked | rude, "injection": calm | asked | rude, "harmful": calm, "sexism": plain}
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
