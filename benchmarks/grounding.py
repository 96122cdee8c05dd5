"""Is an answer grounded: sentence by sentence, beside one NLI call: ``benchmarks/grounding.py --data ../shared/data``.

Three tables, in which every method chose its threshold in the same way, by balanced accuracy, on other examples:

* answers: balanced accuracy of each half with the threshold of the other, on answers that are supported or not;
* citations: precision and recall of the sentences cited, where annotators marked those that support;
* passages: supported claims called unsupported, and the others called supported, by the number of passages; all
  examples are counted, with the threshold that the first half chose at one passage.

"one NLI call" joins all passages to one premise and takes the answer as one hypothesis; windows cover a long premise,
and an answer too long for a hypothesis is judged in parts, of which the least likely counts.
"""

import argparse
import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import headgate
from headgate import Grounding, Label, LabelTooLongError, Scorer
from headgate.sentences import sentences, spans_of

Example = dict[str, Any]
Array = NDArray[np.float64]
Method = Callable[[Sequence[Example]], Array]
"""Examples with "passages", "answer" and "supported" -> a number that grows with support."""
COUNTS = (1, 2, 5, 10, 20, 50)
SENTENCES = sentences("en")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="The folder of data sets.")
    parser.add_argument("--model", default="mini/nli", help="Any NLI model that load() takes.")
    parser.add_argument("--rows", type=int, default=120, help="Examples of each set.")
    parser.add_argument("--only", choices=("answers", "citations", "passages"), help="One table alone.")
    asked = parser.parse_args()
    scorer = headgate.load(asked.model, device="cpu").cached()
    for name, table in (("answers", answers), ("citations", citations), ("passages", passages)):
        if asked.only in (None, name):
            Console(width=140).print(table(scorer, asked.data, asked.rows))


# ------------------------------------------------------------------------------------------ methods


def methods(scorer: Scorer) -> dict[str, Method]:
    """What is compared."""
    ground = Grounding(scorer, SENTENCES, threshold=0.0)

    def whole(examples: Sequence[Example]) -> Array:
        return np.array([one_call(scorer, "\n".join(e["passages"]), e["answer"]) for e in examples])

    def by_sentence(check: Grounding) -> Method:
        return lambda examples: np.array([least(check, e) for e in examples])

    return {
        "one NLI call": whole,
        "passages": by_sentence(replace(ground, cite="windows", literals=False)),
        "and sentences": by_sentence(replace(ground, literals=False)),
        "and literals": by_sentence(ground),
        "and pairs": by_sentence(replace(ground, pairs=3)),
    }


def one_call(scorer: Scorer, premise: str, answer: str) -> float:
    """Log-odds that the premise entails the answer."""
    try:
        return float(scorer.score([premise], [Label(answer, verbatim=True)]).log_odds[0, 0])
    except LabelTooLongError:
        parts = scorer.split_label(answer)  # type: ignore[attr-defined]
        return float(scorer.score([premise], [Label(part, verbatim=True) for part in parts]).log_odds.min())


def least(check: Grounding, example: Example) -> float:
    """The probability of the claim that is supported least; of one that lacks its numbers, below all others."""
    claims = check(example["answer"], example["passages"])
    return min((claim.probability - 2 * bool(claim.missing) for claim in claims), default=1.0)


def cut(scores: Array, truths: NDArray[np.bool_]) -> float:
    """The score from which "supported" parts the truths best."""
    levels = np.unique(scores)
    return float(levels[np.argmax([balanced(scores >= level, truths) for level in levels])])


def balanced(told: NDArray[np.bool_], truths: NDArray[np.bool_]) -> float:
    """Balanced accuracy."""
    return float(told[truths].mean() + (~told)[~truths].mean()) / 2


# ------------------------------------------------------------------------------------------ answers


def answers(scorer: Scorer, data: Path, most: int) -> Table:
    """Balanced accuracy by set and method, with the standard error of each."""
    table = Table("set", "tested", *methods(scorer), title="answers: balanced accuracy (standard error)")
    for name, examples in answer_sets(data, most).items():
        half = np.arange(len(examples)) < len(examples) // 2
        truths = np.array([e["supported"] for e in examples])
        cells = []
        for score in methods(scorer).values():
            z = score(examples)
            told = np.where(half, z >= cut(z[~half], truths[~half]), z >= cut(z[half], truths[half]))
            cells.append(f"{balanced(told, truths):.3f} ({error(told, truths):.3f})")
        table.add_row(name, f"{truths.sum()}+{(~truths).sum()}", *cells)
    return table


def error(told: NDArray[np.bool_], truths: NDArray[np.bool_]) -> float:
    """Standard error of the balanced accuracy."""
    parts = [(~told)[~truths], told[truths]]
    return float(np.sqrt(sum(part.mean() * (1 - part.mean()) / len(part) for part in parts)) / 2)


def answer_sets(data: Path, most: int) -> dict[str, list[Example]]:
    """As many supported as unsupported answers of each set; halves share no source."""
    said = {"supported": True, "unsupported": False, "entailment": True, "contradiction": False, "neutral": False}
    said |= {"not_supported": False, "partially_supported": False}
    rag, edits = read(data, "ragtruth_qa_test"), read(data, "summedits")
    short = [r for r in edits if len(r["context"]) < 6000]
    return {
        "RAGTruth QA, answers": even([example(r, "source_id", said[r["label"]]) for r in rag], most // 2),
        "RAGTruth QA, sentences": even([e for r in rag for e in marked(r)], most),
        "SummEdits": even([example(r, "id", said[r["label"]]) for r in short], most // 2),
        "VitaminC": even([example(r, "page", said[r["label"]]) for r in read(data, "vitaminc_real")], 4 * most),
        "WiCE": even([example(r, "query_id", said[r["label"]]) for r in wice(data, "test")], most),
    }


def marked(row: Example) -> list[Example]:
    """The sentences of an answer, unsupported where annotators marked some of it."""
    whole, out = example(row, "source_id", True), []
    for start, end in spans_of(SENTENCES, row["response"]):
        if end - start > 15:  # longer than "Sure!"
            hit = any(s["start"] < end and start < s["end"] for s in row["spans"])
            out.append(whole | {"answer": row["response"][start:end], "supported": not hit})
    return out


def example(row: Example, source: str, supported: bool) -> Example:
    """One answer, its passages, and whether they support it."""
    context = row.get("context") or row.get("premise") or ""
    parts = [re.sub(r"^passage \d+:", "", part).strip() for part in context.split("\n\n")]
    return {
        "passages": row.get("passages") or [part for part in parts if part],
        "answer": row.get("response") or row.get("hypothesis") or row["query"],
        "supported": supported,
        "source": str(row[source]),
    }


def even(examples: Sequence[Example], most: int) -> list[Example]:
    """``most`` examples, half of them supported, sorted so that a source lies in one half."""
    order = random.Random(0).sample(list(examples), len(examples))
    kept = [[e for e in order if e["supported"] == truth][: most // 2] for truth in (True, False)]
    sources = sorted({e["source"] for some in kept for e in some})
    random.Random(1).shuffle(sources)
    place = {source: k for k, source in enumerate(sources)}
    return sorted((e for some in kept for e in some), key=lambda e: place[e["source"]])


# ---------------------------------------------------------------------------------------- citations


def citations(scorer: Scorer, data: Path, most: int) -> Table:
    """Precision and recall of cited sentences on WiCE: supported claims, web pages in passages of six sentences."""
    dev = even([example(r, "query_id", r["label"] == "supported") for r in wice(data, "dev")], most)
    rows = [r for r in wice(data, "test") if r["label"] == "supported"][: most // 2]
    table = Table("method", "claims", "cited for", "precision", "recall", title="citations: WiCE, mean over claims")
    for name, joined, cite in (
        ("the window of one NLI call", True, "windows"),
        ("passages", False, "windows"),
        ("sentences", False, "sentences"),
    ):
        given = [[" ".join(e["passages"])] if joined else e["passages"] for e in dev]
        check = Grounding(scorer, SENTENCES, cite=cite)
        check = check.fit([e["answer"] for e in dev], given, [e["supported"] for e in dev])
        told = [(c, set(row["supporting"])) for row in rows if (c := cited(check, row, joined))]
        precision = np.mean([len(c & gold) / len(c) for c, gold in told])
        recall = np.mean([len(c & gold) / len(gold) for c, gold in told])
        table.add_row(name, str(len(rows)), str(len(told)), f"{precision:.3f}", f"{recall:.3f}")
    return table


def cited(check: Grounding, row: Example, joined: bool) -> set[int]:
    """The sentences of a page of which a citation holds half or more."""
    size = len(row["sentences"]) if joined else 6
    chunks = [row["sentences"][k : k + size] for k in range(0, len(row["sentences"]), size)]
    marks = [np.zeros(len(" ".join(chunk)), dtype=np.bool_) for chunk in chunks]
    for claim in check(row["query"], [" ".join(chunk) for chunk in chunks]):
        for citation in claim.citations:
            marks[citation.passage][slice(*citation.span)] = True
    out, k = set(), 0
    for chunk, mark in zip(chunks, marks, strict=True):
        at = 0
        for sentence in chunk:
            if mark[at : at + len(sentence)].mean() >= 0.5:
                out.add(k)
            at, k = at + len(sentence) + 1, k + 1
    return out


# ----------------------------------------------------------------------------------------- passages


def passages(scorer: Scorer, data: Path, most: int) -> Table:
    """What is said of VitaminC's claims as the passages grow: their own, then those most like the claim."""
    rows = [r for r in read(data, "vitaminc_real") if r["label"] != "contradiction"]
    examples = even([example(r, "page", r["label"] == "entailment") for r in rows], most)
    pool = [(r["page"], r["premise"]) for r in random.Random(2).sample(rows, 4000)]
    examples = [e | {"passages": [*e["passages"], *like(e, pool, max(COUNTS) - 1)]} for e in examples]
    truths, half = np.array([e["supported"] for e in examples]), len(examples) // 2
    title = "passages: % of supported claims called unsupported | % of others called supported"
    table = Table("method", *map(str, COUNTS), title=title)
    for name, score in methods(scorer).items():
        if name == "and pairs":
            continue
        z = {k: score([e | {"passages": e["passages"][:k]} for e in examples]) for k in COUNTS}
        least = cut(z[COUNTS[0]][:half], truths[:half])
        told = {k: z[k] >= least for k in COUNTS}
        table.add_row(
            name, *(f"{100 * (~told[k])[truths].mean():.1f} | {100 * told[k][~truths].mean():.1f}" for k in COUNTS)
        )
    return table


def like(example: Example, pool: Sequence[tuple[str, str]], count: int) -> list[str]:
    """The texts of other pages that share the largest part of their words with the answer."""
    words = set(re.findall(r"\w+", example["answer"].lower()))
    others = dict.fromkeys(text for page, text in pool if page != example["source"])
    bags = {text: set(re.findall(r"\w+", text.lower())) for text in others}
    return sorted(bags, key=lambda text: -len(words & bags[text]) / (1 + len(bags[text] | words)))[:count]


# --------------------------------------------------------------------------------------------- data


def read(data: Path, name: str, split: str = "test") -> list[Example]:
    """The rows of a file."""
    with gzip.open(data / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def wice(data: Path, split: str) -> list[Example]:
    """Claims of WiCE with web pages of at most 60 sentences, in passages of six."""
    rows = [r for r in read(data, "wice_retrieval", split) if len(r["sentences"]) <= 60]
    return [
        r | {"passages": [" ".join(r["sentences"][k : k + 6]) for k in range(0, len(r["sentences"]), 6)]} for r in rows
    ]


if __name__ == "__main__":
    main()
