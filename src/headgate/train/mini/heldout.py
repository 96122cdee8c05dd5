"""The held-out tests of ``mini``: rows of the data sets as :mod:`headgate.evaluate` reads them, and what is asked.

Each test yields a title and a :class:`~headgate.evaluate.Report`. The untrained base stands beside ours wherever it can
do the task at all, and the first stage beside every order.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from headgate import Ask, Guard, Label, Reranker, Router, evaluate, load
from headgate.evaluate import Report
from headgate.families.base import Family
from headgate.train.heads import fit_heads
from headgate.train.mini.data import rows
from headgate.train.mini.labels import spoken
from headgate.train.mini.model import BASE, base_folder

Json = dict[str, Any]
Found = Iterator[tuple[str, Report]]
ZERO_SHOT = {
    "banking77": (600, "This text is about {}."),
    "slurp": (600, "This text is about {}."),
    "ag_news": (600, "This text is about {} news."),
    "emotion": (600, "This text expresses {}."),
    "rotten_tomatoes": (600, "This review is {}."),
    "financial_phrasebank": (600, "The sentiment of this text is {}."),
    "20newsgroups": (200, "This text is about {}."),
}
PIECE = 450
"""Characters of a hypothesis: well below a window of tokens, whatever the words."""
RERANK = {"trec_dl19": 43, "trec_dl20": 54, "wikiqa": 150, "scifact": 100, "medquad": 100, "nq_passages": 400}


@dataclass(frozen=True)
class Parts:
    """What is tested, and on what.

    Attributes:
        folder: The folder of ``mini``.
        root: The folder of the data sets.
        scale: Share of the usual numbers of rows.
        dtype: Of the encoders.
    """

    folder: Path
    root: Path
    scale: float = 1.0
    dtype: str = "float32"

    def load(self, part: str, **more: Any) -> Family:  # noqa: ANN401
        """A part of the model."""
        return load(self.folder / part, dtype=self.dtype, **more)

    def base(self) -> Family:
        """The untrained base as an embedder."""
        return _base(self.dtype)

    def rows(self, name: str, split: str, most: int | None = None, *, shuffled: bool = False) -> list[Json]:
        """The first rows of a file, or a sample that is the same in every run."""
        found = list(rows(self.root, name, split))
        if shuffled:
            random.Random(1).shuffle(found)
        return found[: max(20, int((len(found) if most is None else most) * self.scale))]


@cache
def _base(dtype: str) -> Family:
    return load(base_folder(BASE), family="bi_encoder", dtype=dtype)


def inference(parts: Parts) -> Found:
    """Accuracy over pairs, a sample of 3,000 where there are more."""
    scorer = parts.load("nli")
    for name, split in (
        ("mnli", "dev"),
        ("mnli", "test"),
        ("snli", "test"),
        ("snli", "test_hard"),
        ("anli", "test"),
        ("vitaminc_real", "test"),
        ("xnli", "test"),
    ):
        found = parts.rows(name, split, None if name == "xnli" else 3000, shuffled=True)
        pairs = [row for row in found if row.get("lang", "en") == "en"][:3000]
        yield f"{name} {split}", evaluate.pairs(scorer, pairs, name="nli")


def zero_shot(parts: Parts) -> Found:
    """Macro F1 with the names of the labels alone, by part; the base's cosine beside them."""
    scorers = {part: parts.load(part) for part in ("route", "gliclass")}
    for name, (most, template) in ZERO_SHOT.items():
        names = sorted({row["label"] for row in rows(parts.root, name, "test")})
        said = {label: spoken(label.replace(".", " ")) for label in names}
        hypotheses = {label: Label(template.format(s), verbatim=True) for label, s in said.items()}
        test = parts.rows(name, "test", most, shuffled=True)
        for part, scorer in scorers.items():
            yield f"{name}, {part}", evaluate.classify(scorer, test, labels=said, name=part)
        yield f"{name}, nli", evaluate.classify(parts.load("nli"), test, labels=hypotheses, name="nli")
        for way, labels in (("base", said), ("base, template", hypotheses)):
            yield f"{name}, {way}", evaluate.classify(parts.base(), test, labels=labels, name=f"{way}: cosine")


def routing(parts: Parts) -> Found:
    """Zero-shot accuracy on all of BANKING77 and SLURP."""
    for name in ("banking77", "slurp"):
        test = parts.rows(name, "test")
        said = {label: spoken(label) for label in sorted({row["label"] for row in rows(parts.root, name, "test")})}
        for part, scorer in (("route", parts.load("route")), ("base", parts.base())):
            yield f"{name}, {part}", evaluate.classify(scorer, test, labels=said, name=part)


def few_shot(parts: Parts) -> Found:
    """Heads fitted on frozen embeddings in seconds; on CLINC150 also what they decline."""
    rng = random.Random(0)
    train, test = parts.rows("banking77", "train"), parts.rows("banking77", "test")
    by_label: dict[str, list[Json]] = {}
    for row in train:
        by_label.setdefault(row["label"], []).append(row)
    for shots in (5, 10, None):
        some = [
            r for found in by_label.values() for r in (rng.sample(found, min(shots, len(found))) if shots else found)
        ]
        scorer, names = _fitted(parts, some)
        title = f"banking77, {shots or 'all'} examples a label"
        yield title.replace(", ", " "), evaluate.classify(scorer, test, labels=names, name="fit_heads")
    inside = [row for row in parts.rows("clinc150", "train") if row["label"] != "oos"]
    scorer, names = _fitted(parts, inside)
    asked = [
        {**row, "label": None if row["label"] == "oos" else row["label"]} for row in parts.rows("clinc150", "test")
    ]
    yield "clinc150 all examples", evaluate.route(Router(scorer, names), asked, name="fit_heads")


def _fitted(parts: Parts, found: Sequence[Json]) -> tuple[Family, dict[str, str]]:
    scorer = fit_heads(parts.folder / "embed", [{"text": row["text"], "label": row["label"]} for row in found])
    names = {label.split(":", 1)[1]: label for label in scorer.labels}
    return scorer, names


def reranking(parts: Parts) -> Found:
    """nDCG@10 over the given first stage."""
    rerankers = {"rank": Reranker(parts.load("rank")), "base": Reranker(parts.base())}
    for name, most in RERANK.items():
        queries = candidates(parts, name, most)
        for part, reranker in rerankers.items():
            yield f"{name}, {part}", evaluate.rerank(reranker, queries, name=part)


def candidates(parts: Parts, name: str, most: int, *, split: str = "test", each: int = 1000) -> list[Json]:
    """Queries with their first-stage candidates, as :func:`headgate.evaluate.rerank` reads them."""
    queries = parts.rows(name, split, most)
    qrels = "full_qrels" if (parts.root / name / "full_qrels.jsonl.gz").exists() else "qrels"
    relevant: dict[str, dict[str, int]] = {}
    for row in rows(parts.root, name, qrels):
        relevant.setdefault(row["query_id"], {})[row["doc_id"]] = int(row["relevance"])
    wanted = {doc for row in queries for doc in row["candidates"][:each]}
    docs = {
        r["doc_id"]: f"{r.get('title') or ''} {r['text']}".strip()
        for r in rows(parts.root, name, "corpus")
        if r["doc_id"] in wanted
    }
    found = []
    for row in queries:
        judged = relevant.get(row["query_id"], {})
        there = [doc for doc in row["candidates"][:each] if doc in docs]
        documents = [{"text": docs[doc], "relevance": max(0, judged.get(doc, 0))} for doc in there]
        missed = [grade for doc, grade in judged.items() if doc not in set(there) and grade > 0]
        found.append({"query": row["query"], "documents": documents, "missed": missed})
    return found


def guards(parts: Parts) -> Found:
    """Recall at 1% false positives and at the shipped threshold, rule by rule; XSTest's safe rows as look-alikes."""
    scorer = parts.load("heads")
    alike = [{"text": row["text"]} for row in rows(parts.root, "xstest", "test") if row["label"] == "safe"]
    for name, rule, bad in (
        ("jailbreak_prompts", "jailbreak:jailbreak", ("jailbreak",)),
        ("harmful_prompts", "harmful:harmful", ("harmful",)),
        ("prompt_injections_deepset", "injection:injection", ("injection",)),
        ("bipia_indirect_injection", "injection:injection", ("injection",)),
        ("edos_sexism", "sexism:sexist", ("sexist",)),
        ("paradetox", "toxicity:toxic", ("toxic",)),
        ("hatecheck", "toxicity:toxic", ("hateful",)),
        ("hate_offensive_davidson", "toxicity:toxic", ("hate", "offensive")),
    ):
        test = [
            {"text": row["text"], "label": rule if row["label"] in bad else None}
            for row in parts.rows(name, "test", 4000, shuffled=True)
        ]
        yield f"{name}, {rule}", evaluate.guard(Guard(scorer, [rule]), test, lookalikes=alike, name=rule)
    yield "openai_moderation, toxicity:toxic", _moderation(parts, Guard(scorer, ["toxicity:toxic"]))


def _moderation(parts: Parts, guard: Guard) -> Report:
    """Hate and harassment against what was not flagged at all."""
    test = []
    for row in rows(parts.root, "openai_moderation", "test"):
        hateful = any(label.startswith(("hate", "harassment")) for label in row["labels"])
        if hateful or not row["labels"]:
            test.append({"text": row["text"], "label": "toxicity:toxic" if hateful else None})
    return evaluate.guard(guard, test, name="toxicity:toxic")


def own_heads(parts: Parts) -> Found:
    """Sentiment and intent, on tests of the sets they were trained on."""
    scorer = parts.load("heads")
    moods = {name: f"sentiment:{name}" for name in ("negative", "positive")}
    yield (
        "sentiment_sentences_uci",
        evaluate.classify(scorer, parts.rows("sentiment_sentences_uci", "test"), labels=moods, name="sentiment"),
    )
    intents = {name: f"intent:{name}" for name in ("greeting", "gratitude", "other")}
    spoken_of = [
        {"text": r["text"], "label": r["label"] if r["label"] in intents else "other"}
        for r in parts.rows("smalltalk_ggu", "test")
    ]
    yield "smalltalk_ggu", evaluate.classify(scorer, spoken_of, labels=intents, name="intent")


def grounding(parts: Parts) -> dict[str, Json]:
    """Is a response supported by its context: the whole response, and the weakest of its sentences.

    Balanced accuracy at the log-odds that is best on the dev rows of BEGIN and WiCE, and AUROC.
    """
    scorer = parts.load("nli", template="{}")
    dev = [_supported(scorer, parts.rows(name, "dev", 300, shuffled=True)) for name in ("begin", "wice_oracle")]
    cuts = [_best_cut(*(np.concatenate([part[at] for part in dev]) for at in (way, 2))) for way in (0, 1)]
    found: dict[str, Json] = {}
    for name in ("ragtruth_qa_test", "summedits", "vitaminc_real", "begin", "wice_oracle"):
        *ways, truth = _supported(scorer, parts.rows(name, "test", 500, shuffled=True))
        found[name] = {"rows": len(truth)}
        for way, cut, z in zip(("whole", "sentences"), cuts, ways, strict=True):
            balanced = (np.mean(z[truth] >= cut) + np.mean(z[~truth] < cut)) / 2
            area = evaluate.metrics.auroc(truth, z)
            found[name] |= {
                f"balanced accuracy, {way}": round(float(balanced), 4),
                f"AUROC, {way}": round(float(area), 4),
            }
    return found


def _supported(scorer: Family, found: Sequence[Json]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds of entailment of the whole response and of its weakest sentence, and the truth, each (n,)."""
    asks, wholes = [], []
    for row in found:
        said = row.get("response") or row["hypothesis"]
        # A hypothesis has to fit into a window: a response that doesn't is as well supported as its weakest piece.
        whole = wrap(said, PIECE)
        sentences = [s for s in re.split(r"(?<=[.!?])\s+", said) if len(s.split()) > 2] or [said]
        pieces = [piece for s in sentences for piece in wrap(s, PIECE)]
        hypotheses = [Label(s, verbatim=True) for s in (*whole, *pieces)]
        asks.append(Ask([row.get("context") or row["premise"]], hypotheses))
        wholes.append(len(whole))
    odds = [scores.log_odds[0] for scores in scorer.score_many(asks)]
    truth = np.array([row["label"] in ("supported", "entailment") for row in found])
    weakest = [(z[:size].min(), z[size:].min()) for z, size in zip(odds, wholes, strict=True)]
    whole_odds, sentence_odds = np.array(weakest).T
    return whole_odds, sentence_odds, truth


def _best_cut(z: np.ndarray, truth: np.ndarray) -> float:
    cuts = np.quantile(z, np.linspace(0.02, 0.98, 97))
    return float(max(cuts, key=lambda cut: np.mean(z[truth] >= cut) + np.mean(z[~truth] < cut)))


def label_order(parts: Parts) -> Json:
    """How often the label scorer's choice among 16 labels changes when they are put in another order."""
    scorer, rng, flips = parts.load("gliclass"), random.Random(5), []
    names = sorted({row["label"] for row in rows(parts.root, "banking77", "test")})
    for row in parts.rows("banking77", "test", 300, shuffled=True):
        menu = [row["label"], *rng.sample([n for n in names if n != row["label"]], 15)]
        rng.shuffle(menu)
        other = rng.sample(menu, 16)
        a, b = scorer.score_many([Ask([row["text"]], [spoken(n) for n in order]) for order in (menu, other)])
        flips.append(menu[int(a.log_odds[0].argmax())] != other[int(b.log_odds[0].argmax())])
    return {"rows": len(flips), "flips at 16 labels": round(float(np.mean(flips)), 4)}


SUITES: dict[str, Callable[[Parts], Found]] = {
    "nli": inference,
    "zero_shot": zero_shot,
    "routing": routing,
    "few_shot": few_shot,
    "reranking": reranking,
    "guards": guards,
    "heads": own_heads,
}
