"""The model card of ``mini``, made from the table of sources and from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.train.mini.data import SOURCES

Json = dict[str, Any]

# The base was trained on the sources of these, so a figure on them says less about new data.
SEEN_BY_BASE = frozenset({"trec_dl19", "trec_dl20", "nq_passages", "mnli", "snli"})

# Suite of figures, its heading, and what a reader must know. Columns that stand side by side are from one run.
_SUITES = (
    (
        "reranking",
        "Reranking: nDCG@10",
        "Over the candidates of the first stage: BM25's top 100; for WikiQA all sentences of the page. `base` is the "
        "cosine of the untrained base. The interval is that of the gain over the first stage, by paired bootstrap.",
    ),
    (
        "nli",
        "Natural-language inference: accuracy",
        "MNLI and SNLI were trained on (other rows); ANLI, VitaminC's real half and XNLI were not.",
    ),
    (
        "zero_shot",
        "Zero-shot classification by the names of the labels: macro F1",
        "No row of these was trained on; the two terms of `mini/route` were weighed on dev rows, of SLURP among others."
        " `base` is the untrained base's cosine, of the name alone or in the template.",
    ),
    ("routing", "Routing: zero-shot, all test rows", "Macro F1 by part, and the accuracy of `mini/route`."),
    ("few_shot", "Linear heads on frozen embeddings", "By `headgate.train.fit_heads` on `mini/embed`."),
    (
        "guards",
        "Guards, rule by rule",
        "Recall at 1 % false positives of that test, and both rates at the shipped threshold. Look-alikes are the safe "
        "prompts of XSTest. hatecheck and openai_moderation: sets never trained on; the others: test splits of sets "
        "trained on.",
    ),
    ("heads", "Sentiment and intent", "Test splits of sets trained on."),
    (
        "grounding",
        "Groundedness by `mini/nli`",
        "Is the response supported by its context: the whole response, and the weakest of its sentences. Balanced "
        "accuracy at a threshold chosen on dev rows of BEGIN and WiCE.",
    ),
    ("label_order", "Order of the labels", "How often `mini/gliclass` chooses another of 16 labels in another order."),
)

_HEAD = """# mini

The default model of headgate: a small English encoder. It reranks documents, routes texts by the names of the routes,
checks whether one text follows from another, and guards against toxic text, harmful requests, jailbreaks and prompt
injection, on a CPU and without a call to a large language model.

## Parts

| part | how it scores | used for |
|---|---|---|
| `mini/rank` | late interaction: MaxSim over token states, plus the cosine of the mean states | reranking |
| `mini/route` | late interaction, taught names of labels, with "none" in its calibration | routing, zero-shot |
| `mini/nli` | reads premise and hypothesis together; three classes | grounding, zero-shot hypotheses |
| `mini/gliclass` | reads each label beside the text, all in one pass (GLiClass, labels isolated) | zero-shot labels |
| `mini/heads` | linear heads on the mean state: intent, sentiment, and five guards | guards, small talk |
| `mini/embed` | the mean state, scaled to length 1 | embeddings, shortlists, heads of your own |

Architecture: BERT, hidden size 384, 12 heads, vocabulary of 30,522. Every part reads with 23 million weights: the word
embeddings, which all share, and six layers, of which there are several sets, since what one task gains another would
lose:

* the base's own, for `mini/embed` and `mini/rank`: layers that learned to rank gain on questions like the training's
  and lose on others;
* layers that met labels and queries, for `mini/route` and `mini/heads`; the lowest two are the base's own;
* the lower half of these with an upper half that met labels beside texts, for `mini/gliclass`: the lower half reads
  text and labels apart, from there on each label reads the text, and none another label;
* layers that met pairs, for `mini/nli`.

Matrices are kept in int8, each row with its scale, and computed in float32 (or what `dtype=` says). Text goes through
NFKC and is lower-cased. `scorer.json` holds templates, calibrations and thresholds.

## Base

[all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2), Apache-2.0. Its own training data,
over a billion pairs, included MS MARCO, Natural Questions, SQuAD, SNLI and MultiNLI, Reddit comments, Stack Exchange,
WikiAnswers, S2ORC, PAQ, Yahoo Answers, GooAQ, code search and others; see its card for the list. A figure marked
"source seen by the base" is on a set whose source is among them: read it as an upper bound.

The word embeddings are the base's own, unchanged but for the two markers of the label scorer. While `mini/route`
learned names of labels, a frozen copy of the base held its states and its choices close to what they were.
"""

_LIMITS = """## Limits

* English. Other languages pass the tokenizer in part, but were neither trained nor measured.
* A window holds 256 tokens, of `mini/heads` 128; what is longer is scored window by window.
* Case is lost: "US" and "us" are the same.
* Small: it reads wording better than it reasons. Numbers, dates, negation inside long sentences and multi-step
  inference go wrong often, adversarial NLI is near chance, and too few neutral pairs of SNLI's kind are found.
  `mini/nli` alone can't tell whether an answer is true.
* Calibrated on short texts and label names; expect other rates on your data, and fit your own `Calibration` and
  thresholds.
* The thresholds let 99% (toxicity, sexism) or 99.5% of *short ordinary* dev texts pass. On long prompts and on
  documents (the benign rows of jailbreak_prompts and bipia above) the rules fire far more often; choose your own there.
* The toxicity head hears rude wording, not intent: on HateCheck, whose harmless rows quote, negate or reclaim hateful
  words, it is little better than chance.
* `mini/gliclass` judges each label beside the text and knows nothing of the others. Among dozens of close intents it is
  behind `mini/route` (banking77), and it reads the text again for every prompt of labels, so it is slower there.
* By name, `mini/route` and `mini/gliclass` are below the untrained base's cosine in a template on AG News; names of
  topics gain less from their training than intents and feelings.
* The guards lower risk and don't remove it. Prompt injection changes weekly, and hidden instructions that look like
  ordinary requests inside a document are often missed. The toxicity head learned from sets with known dialect and
  identity biases; check it on the voices of your own users.
* The data sets are samples, and most licences were read from their publications; no legal advice.
"""


def card(figures: Json, chosen: Json) -> str:
    """MODEL_CARD.md.

    Args:
        figures: What ``headgate.train.mini.report`` measured; {} gives a card that says nothing was measured.
        chosen: What ``headgate.train.mini.finish`` measured on dev rows; {} leaves it out.
    """
    measured = _measured(figures) if figures else "## Figures\n\nNot measured: an export in the middle of training.\n"
    return "\n".join([_HEAD, _sources(), measured, *([_chosen(chosen)] if chosen else []), _LIMITS])


def _sources() -> str:
    lines = [
        "## Data",
        "",
        "Sets whose licence allows commercial use (P: permissive, SA: share-alike data). A row or passage was dropped",
        "if it is the same, in normalised form, as a text in the dev or test files of any set here, or shares 13 words",
        "in a row with one; so were rows under other terms than their set's. Greetings, thanks, injections and",
        "look-alikes marked `written` in the code were written for this model. `parts` are those that the labels of a",
        "set taught; its texts also stand beside others as ordinary text.",
        "",
        "| set | tier | licence | parts |",
        "|---|---|---|---|",
        *(f"| {s.name} | {s.tier} | {s.licence} | {s.parts} |" for s in SOURCES),
        "",
    ]
    return "\n".join(lines)


def _measured(figures: Json) -> str:
    sections = [
        "## Figures",
        "",
        "On rows that no training has seen. Recipes were compared on dev rows, of MNLI too. The commands:",
        "",
        "    python -m headgate.train.mini --data DATA --out FIRST --only nli --steps 3000 --rate 1e-4 --fall 0.5",
        "    python -m headgate.train.mini --data DATA --out PAIRS --start FIRST --only nli --steps 1300 --rate 1e-4"
        " --fall 0.9 --seed 1",
        "    python -m headgate.train.mini --data DATA --out TEXT --only heads names rank --frozen 2 --steps 2100"
        " --fall 0.286",
        "    python -m headgate.train.mini --data DATA --out LABELS --start TEXT --only gliclass --frozen 3"
        " --steps 1500 --rate 5e-5 --label-rate 1e-4 --fall 0.5",
        "    python -m headgate.train.mini.export --pairs PAIRS --text TEXT --labels LABELS --out ROUGH",
        "    python -m headgate.train.mini.finish --folder ROUGH --data DATA --out mini --dtype bfloat16",
        "    make mini-report    # and, with --card, this file",
        "",
        "The shipped weights differ from what these give in three things: FIRST drew SNLI twice as often, its classes",
        "by the root of their sizes; TEXT learned to rank in its last 600 steps alone, and in every third step a",
        "label scorer of another form, which is gone. Two cores took 135 minutes. The figures are of encoders in bf16.",
        "",
    ]
    for suite, title, note in _SUITES:
        if suite in figures:
            found = figures[suite]
            rows = found if all(isinstance(row, Mapping) for row in found.values()) else {"mini/gliclass": found}
            sections += [f"### {title}", "", note, "", _table("set", rows)]
    return "\n".join(sections)


def _chosen(chosen: Json) -> str:
    sections = [
        "## Choices made on dev rows",
        "",
        *(["Ranking:", "", _table("part", chosen["ranking"])] if "ranking" in chosen else []),
        "Eight routes by name, half of the texts with none that fits. Balanced: the mean of right route and right",
        '"none".',
        "",
        _table("part", chosen["routing"]),
        "Thresholds of the guards:",
        "",
        _table("rule", chosen["thresholds"]),
    ]
    return "\n".join(sections)


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
