"""From the rows of each set to the examples of each task."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from headgate.errors import DataError
from headgate.train.mini.data import NLI_CLASSES, NOT_ENTAILED, Choice, Examples, Pair, Query, Reader, Row
from headgate.train.mini.head_examples import POSITIVE, guards, intent_and_sentiment, toxicity

NEGATIVE = frozenset(
    {
        *("anger", "annoyance", "disappointment", "disapproval", "disgust", "embarrassment"),
        *("fear", "grief", "nervousness", "remorse", "sadness"),
    }
)
# Rows of these tasks are under other terms than the set's own.
_LLM_TASKS_DROPPED = frozenset({"natural_qa", "arc_challenge", "openbook_qa"})


def load(root: Path, *, seed: int = 0) -> Examples:
    """Read every set under `root` and make the examples of every task.

    Raises:
        DataError: A row is wrong, or a task is left without examples.
    """
    reader, found = Reader(root), Examples()
    rng = random.Random(seed)
    for part in (_nli, _choices, _queries, intent_and_sentiment, toxicity, guards):
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
