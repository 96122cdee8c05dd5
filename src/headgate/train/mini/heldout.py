"""The held-out tests of ``mini``: each returns figures, with the first stage and the untrained base beside ours."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from headgate.train.mini.data import NLI_CLASSES, rows
from headgate.train.mini.export import TEMPLATE
from headgate.train.mini.labels import spoken
from headgate.train.mini.measure import Judge, auroc, entailed, macro_f1, match, ndcg, recall_at, standard
from headgate.train.mini.model import HEADS

log = logging.getLogger(__name__)

Json = dict[str, Any]
Number = Callable[[int], int]
RETRIEVAL = {"trec_dl19": 43, "trec_dl20": 54, "scifact": 100, "wikiqa": 242, "nq_passages": 60, "medquad": 60}
ZERO_SHOT = {
    "banking77": (400, TEMPLATE),
    "ag_news": (600, "This text is about {}."),
    "emotion": (600, "This text expresses {}."),
    "rotten_tomatoes": (600, "This review is {}."),
    "financial_phrasebank": (600, "The sentiment of this text is {}."),
}
SAID = {"World": "world", "Sports": "sports", "Business": "business", "Sci/Tech": "science and technology"}


def sample(root: Path, name: str, split: str, number: int) -> list[Json]:
    """At most `number` rows of a file, the same ones in every run."""
    found = list(rows(root, name, split))
    return random.Random(4).sample(found, min(number, len(found)))


def retrieval(judge: Judge, root: Path, weights: dict[str, float], number: Number) -> Json:
    """nDCG@10 over the given candidates: first stage, the base's cosine, its z-scored MaxSim + cosine, and ours."""
    found: Json = {}
    for name, usual in RETRIEVAL.items():
        chosen = sample(root, name, "test", number(usual))
        qrels = "full_qrels" if (root / name / "full_qrels.jsonl.gz").exists() else "qrels"
        relevant: dict[str, dict[str, int]] = {}
        for row in rows(root, name, qrels):
            relevant.setdefault(row["query_id"], {})[row["doc_id"]] = int(row["relevance"])
        wanted = {doc for row in chosen for doc in row["candidates"]}
        docs = {
            r["doc_id"]: f"{r.get('title') or ''} {r['text']}".strip()
            for r in rows(root, name, "corpus")
            if r["doc_id"] in wanted
        }
        sums: dict[str, float] = dict.fromkeys(
            ("first stage", "base cosine", "base maxsim + cosine", "mini embed", "mini rank"), 0.0
        )
        for base in (True, False):
            known = dict(zip(docs, judge.encode(list(docs.values()), base=base), strict=True))
            for row, query in zip(chosen, judge.encode([r["query"] for r in chosen], base=base), strict=True):
                ids = [doc for doc in row["candidates"] if doc in known]
                maxsim, cosine = match(query, [known[doc] for doc in ids])
                ours = weights["maxsim"] * maxsim + weights["cosine"] * cosine
                ways = (
                    {"base cosine": cosine, "base maxsim + cosine": standard(maxsim) + standard(cosine)}
                    if base
                    else {"mini embed": cosine, "mini rank": ours}
                )
                for way, scores in ways.items():
                    sums[way] += ndcg([ids[at] for at in np.argsort(-scores, kind="stable")], relevant[row["query_id"]])
                if base:
                    sums["first stage"] += ndcg(row["candidates"], relevant[row["query_id"]])
        found[name] = {"queries": len(chosen), **{way: round(total / len(chosen), 4) for way, total in sums.items()}}
        log.info("%s: %s", name, found[name])
    return found


def inference(judge: Judge, root: Path, number: int) -> Json:
    """Accuracy over three classes, and of "entailed or not" where a set has two."""
    found: Json = {}
    for name, split in (
        ("mnli", "dev"),
        ("snli", "test_hard"),
        ("vitaminc_real", "test"),
        ("fever_symmetric", "test"),
        ("anli", "test"),
    ):
        chosen = sample(root, name, split, number)
        logits = judge.nli([r["premise"] for r in chosen], [r["hypothesis"] for r in chosen])
        truth = [r["label"] for r in chosen]
        right = np.array([t == "entailment" for t in truth])
        scores: Json = {
            "rows": len(chosen),
            "entailed or not": round(float(((entailed(logits) > 0) == right).mean()), 4),
        }
        if "neutral" in truth:
            scores["three classes"] = round(
                float((logits.argmax(1) == [NLI_CLASSES.index(t) for t in truth]).mean()), 4
            )
        else:
            binary = np.where(logits[:, 0] > logits[:, 2], 0, 2)
            scores["entailment or contradiction"] = round(
                float((binary == [NLI_CLASSES.index(t) for t in truth]).mean()), 4
            )
        of = f"{name} {split}"
        found[of] = scores | {"entailment auroc": round(auroc(right.tolist(), entailed(logits)), 4)}
        log.info("%s: %s", of, found[of])
    return found


def zero_shot(judge: Judge, root: Path, number: Number) -> Json:
    """Macro-F1 with label names alone."""
    found: Json = {}
    for name, (usual, template) in ZERO_SHOT.items():
        labels = sorted({row["label"] for row in rows(root, name, "test")})
        chosen = sample(root, name, "test", number(usual))
        texts, truth = [r["text"] for r in chosen], [labels.index(r["label"]) for r in chosen]
        said = [SAID.get(label, spoken(label)) for label in labels]
        hypotheses = [template.format(s) for s in said]
        ways = {
            "gliclass": np.stack(judge.joint(texts, [said] * len(texts))),
            "nli": judge.entailment(texts, hypotheses),
            "base cosine": judge.vectors(texts, base=True) @ judge.vectors(said, base=True).T,
            "base cosine, template": judge.vectors(texts, base=True) @ judge.vectors(hypotheses, base=True).T,
            "mini embed": judge.vectors(texts) @ judge.vectors(said).T,
        }
        f1 = {way: round(macro_f1(truth, scores.argmax(1).tolist()), 4) for way, scores in ways.items()}
        found[name] = {"rows": len(chosen), "labels": len(labels), **f1}
        log.info("%s: %s", name, found[name])
    return found


def guards(judge: Judge, root: Path, thresholds: dict[str, float], number: Number) -> Json:
    """Recall at 1% false alarms, and both rates at the shipped threshold."""
    found: Json = {}
    for name, head, bad in (
        ("jailbreak_prompts", "injection", ("jailbreak",)),
        ("prompt_injections_deepset", "injection", ("injection",)),
        ("bipia_indirect_injection", "injection", ("injection",)),
        ("xstest", "injection", ()),
        ("banking77", "injection", ()),
        ("paradetox", "toxicity", ("toxic",)),
        ("hatecheck", "toxicity", ("hateful",)),
        ("hate_offensive_davidson", "toxicity", ("hate", "offensive")),
        ("xstest", "toxicity", ()),
        ("banking77", "toxicity", ()),
    ):
        chosen = sample(root, name, "test", number(1000))
        scores = judge.broken([row["text"] for row in chosen], head)
        truth = [row.get("label") in bad for row in chosen]
        rule = f"{head}:{HEADS[head][0]}"
        fired = scores >= thresholds[rule]
        row: Json = {"rows": len(chosen), "false alarms": round(float(fired[~np.array(truth)].mean()), 4)}
        if bad:
            row |= {"caught": round(float(fired[np.array(truth)].mean()), 4), "auroc": round(auroc(truth, scores), 4)}
            row["recall at 1% false alarms"] = round(recall_at(truth, scores), 4)
        found[f"{rule} on {name}"] = row
        log.info("%s on %s: %s", rule, name, row)
    return found


def own_heads(judge: Judge, root: Path, number: int) -> Json:
    """Macro-F1 of intent and sentiment on the sets they were trained on."""
    found: Json = {}
    intents = [
        (r["text"], r["label"] if r["label"] in HEADS["intent"] else "other")
        for r in rows(root, "smalltalk_ggu", "test")
    ]
    moods = [(r["text"], r["label"]) for r in rows(root, "sentiment_sentences_uci", "test")]
    clinc = [
        (r["text"], {"greeting": "greeting", "thank_you": "gratitude"}.get(r["label"], "other"))
        for r in rows(root, "clinc150", "test")
    ]
    for head, name, items in (
        ("intent", "smalltalk_ggu", intents),
        ("intent", "clinc150", clinc),
        ("sentiment", "sentiment_sentences_uci", moods),
    ):
        chosen = random.Random(4).sample(items, min(number * (3 if name == "clinc150" else 1), len(items)))
        logits = judge.head([text for text, _ in chosen], head, windows=1)
        truth = [HEADS[head].index(label) for _, label in chosen]
        found[f"{head} on {name}"] = {
            "rows": len(chosen),
            "macro-F1": round(macro_f1(truth, logits.argmax(1).tolist()), 4),
            "accuracy": round(float((logits.argmax(1) == truth).mean()), 4),
        }
        log.info("%s on %s: %s", head, name, found[f"{head} on {name}"])
    return found


def drift(judge: Judge, root: Path, number: int) -> Json:
    """Mean cosine of our embeddings with the base's, on texts of several kinds."""
    found: Json = {}
    for name, split, field in (
        ("nq_passages", "test", "query"),
        ("scifact", "test", "query"),
        ("banking77", "test", "text"),
        ("ag_news", "test", "text"),
        ("mnli", "dev", "premise"),
    ):
        texts = [row[field] for row in sample(root, name, split, number)]
        cosine = (judge.vectors(texts) * judge.vectors(texts, base=True)).sum(1)
        found[name] = {"mean": round(float(cosine.mean()), 4), "lowest 1%": round(float(np.quantile(cosine, 0.01)), 4)}
    log.info("cosine with the base: %s", found)
    return found
