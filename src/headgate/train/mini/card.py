"""The model card of ``mini``, made from the table of sources and from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.train.mini.data import SOURCES

Json = dict[str, Any]

# The base was trained on these, so a figure on them says less about new data.
SEEN_BY_BASE = frozenset({"trec_dl19", "trec_dl20", "nq_passages", "mnli", "snli"})

_HEAD = """# mini

The default model of headgate: a small English encoder with five parts that share one backbone. It reranks documents,
routes texts by the names of the routes, checks whether one text follows from another, and guards against toxic text
and prompt injection, on a CPU and without a call to a large language model. First edition.

## Parts

| part | how it scores | used for |
|---|---|---|
| `mini/rank` | late interaction: MaxSim over token states, plus the cosine of the mean states | reranking |
| `mini/route` | the same numbers with a calibration of its own, fitted on routes and "none" | routing |
| `mini/nli` | reads premise and hypothesis together; three classes | zero-shot labels, grounding |
| `mini/gliclass` | reads all labels and the text together (GLiClass layout) | zero-shot labels, a few at a time |
| `mini/heads` | linear heads on the mean state: intent, sentiment, toxicity, injection | guards, small talk |
| `mini/embed` | the mean state, scaled to length 1 | embeddings, shortlists |

Architecture: BERT, 6 layers, hidden size 384, 12 heads, vocabulary of 30,522; about 23 million weights, in fp16. Text
goes through NFKC and is lower-cased. `scorer.json` holds templates, calibrations and thresholds.

## Base

[all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2), Apache-2.0. Its own training data,
over a billion pairs, included MS MARCO, Natural Questions, SQuAD, SNLI and MultiNLI, Reddit comments, Stack Exchange,
WikiAnswers, S2ORC, PAQ, Yahoo Answers, GooAQ, code search and others; see its card for the list. A figure marked
"source seen by the base" is on a set whose source is among them: read it as an upper bound.

The word embeddings are the base's own, unchanged but for the two markers of the joint scorer. A frozen copy of the base
taught the plain text states to stay close to what they were.
"""

_LIMITS = """## Limits

* English. Other languages pass the tokenizer in part, but were neither trained nor measured.
* A window holds 256 tokens; what is longer is scored window by window. The figures above cut retrieval, NLI and
  zero-shot texts at 256 tokens and read guard texts in up to four windows.
* Case is lost: "US" and "us" are the same.
* Small: it reads wording better than it reasons. Numbers, dates, negation inside long sentences and multi-step
  inference go wrong often, and adversarial NLI is near chance. `mini/nli` alone can't tell whether an answer is true.
* Calibrated on short texts and label names; expect other rates on your data, and fit your own `Calibration` and
  thresholds.
* The thresholds let 99% of *short ordinary* dev texts pass. On long prompts and on documents (the benign rows of
  jailbreak_prompts and bipia above) the injection rule fires more often than that; choose your own threshold there.
* The toxicity head hears rude wording, not intent: on HateCheck, whose harmless rows quote, negate or reclaim hateful
  words, it is little better than chance.
* `mini/gliclass` compares labels within one prompt. With dozens of labels, split over prompts, it falls far behind the
  cosine of `mini/embed` (banking77 above): shortlist first.
* The parts cost one another a little: as embeddings `mini/embed` is slightly below the base on most sets above.
* The guards lower risk and don't remove it. Prompt injection changes weekly, and hidden instructions that look like
  ordinary requests inside a document are often missed. The toxicity head learned from sets with known dialect and
  identity biases; check it on the voices of your own users.
* The data sets are samples, and most licences were read from their publications; no legal advice.
"""


def card(figures: Json) -> str:
    """MODEL_CARD.md.

    Args:
        figures: What ``headgate.train.mini.assess`` wrote; {} gives a card that says nothing was measured.
    """
    parts = [_HEAD, _sources()]
    parts.append(
        _measured(figures) if figures else "## Figures\n\nNot measured: an export in the middle of training.\n"
    )
    return "\n".join([*parts, _LIMITS])


def _sources() -> str:
    lines = [
        "## Data",
        "",
        "Sets whose licence allows commercial use (P: permissive, SA: share-alike data). Rows that occur in the dev or",
        "test files of any set measured below were dropped, as were rows under other terms than their set's.",
        "Greetings, thanks, injections and look-alikes marked `written` in the code were written for this model.",
        "",
        "| set | tier | licence | parts |",
        "|---|---|---|---|",
        *(f"| {s.name} | {s.tier} | {s.licence} | {s.parts} |" for s in SOURCES),
        "",
    ]
    return "\n".join(lines)


def _measured(figures: Json) -> str:
    scale = f" --scale {figures['scale']:g}" if figures["scale"] != 1 else ""
    sections = [
        "## Figures",
        "",
        "On test data that no training has seen; the routing table is on the dev data that its choice was made on, and",
        "the guard heads were fitted anew once after a first look at the guard table. In each table, ours and what",
        "stands beside it come from one run, in bf16 on a CPU; routing and guards were measured again later.",
        f"The training took {figures['steps']:,} steps on two busy cores. The commands:",
        "",
        "    python -m headgate.train.mini --data DATA --out RUN --minutes 57",
        "    python -m headgate.train.mini.refit --run RUN --data DATA --out REFIT",
        f"    python -m headgate.train.mini.assess --run REFIT --data DATA --figures figures.json{scale}",
        "    python -m headgate.train.mini.export --run REFIT --figures figures.json --out mini",
        "",
    ]
    return "\n".join([*sections, _pairs_and_labels(figures), _routes_and_guards(figures)])


def _pairs_and_labels(figures: Json) -> str:
    sections = [
        "### Reranking: nDCG@10",
        "",
        "Over the candidates of the first stage: BM25's top 100; for WikiQA all sentences of the page.",
        "",
        _table("set", figures["retrieval"]),
        "### Natural-language inference: accuracy",
        "",
        "MNLI and SNLI were trained on (other rows); the others were not.",
        "",
        _table("set", figures["nli"]),
        "### Zero-shot classification by label names: macro-F1",
        "",
        "No row of these was trained on. The label names of banking77 and ag_news are new to the model; joy, positive",
        "and the like were seen with other texts. Templates: see `headgate.train.mini.heldout`.",
        "",
        _table("set", figures["zero_shot"]),
    ]
    return "\n".join(sections)


def _routes_and_guards(figures: Json) -> str:
    sections = [
        "### Routing on dev data: eight routes by name, half of the texts with none that fits",
        "",
        f'`{figures["route"]}` routes by default. Balanced: the mean of right route and right "none".',
        "",
        _table("part", figures["routing"]),
        "### Guards at the shipped thresholds",
        "",
        "jailbreak_prompts, prompt_injections_deepset, bipia, paradetox and hate_offensive_davidson: test splits of",
        "sets trained on. hatecheck, xstest and banking77: sets never trained on; no row of the last two breaks a",
        "rule.",
        "",
        _thresholds(figures),
        _table("rule and set", figures["guards"]),
        "### Heads",
        "",
        _table("head and set", figures["heads"]),
        "### Embeddings: cosine with the base's",
        "",
        _table("texts", figures["drift"]),
    ]
    return "\n".join(sections)


def _thresholds(figures: Json) -> str:
    lines = []
    for rule, dev in figures["threshold_dev"].items():
        lines.append(
            f"`{rule}`: {figures['thresholds'][rule]:.4f}, where {100 * dev['safe that pass']:.1f}% of {dev['safe']} "
            f"safe dev texts pass and {100 * dev['bad that are caught']:.1f}% of {dev['bad']} bad ones are caught.\n"
        )
    return "\n".join(lines)


def _table(name: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with a row for each entry; a figure that an entry lacks is left empty."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| {name} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for key, row in rows.items():
        mark = " (source seen by the base)" if key.split()[0] in SEEN_BY_BASE else ""
        lines.append(f"| {key}{mark} | {' | '.join(_shown(row.get(column)) for column in columns)} |")
    return "\n".join([*lines, ""])


def _shown(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
