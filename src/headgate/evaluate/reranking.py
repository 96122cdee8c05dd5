"""Reranking: what the new order gains over the first stage's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headgate.errors import DataError
from headgate.evaluate.common import WORST, calibration, settings, template, timed
from headgate.evaluate.metrics import Difference, Floats, bootstrap, extra, paired
from headgate.evaluate.report import Cell, Figure, Plot, Report, Table, few
from headgate.evaluate.rows import Row, Source, read_rows
from headgate.rerank import Hit, Reranker

K = 10
MEASURES = (f"nDCG@{K}", f"MRR@{K}", f"MAP@{K}")
FIRST, GAIN = "first stage", "gain"
Ranking = Sequence[int]


def rerank(reranker: Reranker, rows: Source, *, name: str | None = None, seed: int = 0) -> Report:
    """Measure an order of documents beside the order they came in.

    nDCG@10, MRR@10 and MAP@10 by ir_measures, with the first stage's order of the same candidates, the gain, and the
    paired bootstrap over queries. Relevant documents that the first stage did not find are in ``"missed"``, as a list
    of their relevances: they belong to the ideal order that nDCG and MAP compare with, as in the published figures;
    without it the ideal order is that of the candidates. A query without a relevant document scores 0 in every order;
    it is kept, as trec_eval keeps it, and said.

    Args:
        reranker: The reranker; what it cuts off counts as not found.
        rows: ``{"query": …, "documents": [{"text": …, "relevance": 2}, …], "missed": [1]}``, in the first stage's
            order; relevance is a whole number, 0 for irrelevant; "missed" may be absent.
        name: The model's name in the report.
        seed: Of the bootstrap.

    Raises:
        DataError: A row is wrong; before anything is scored.
        MissingExtraError: ir_measures is not installed.
    """
    every = read_rows(rows)
    queries, read = [row.text("query") for row in every], [_documents(row) for row in every]
    documents, relevance = [[text for text, _ in found] for found in read], [[r for _, r in found] for found in read]
    missed = [_missed(row) for row in every]
    plain = replace(reranker, text=None)  # the rows hold texts, whatever the application's documents are
    hits, seconds = timed(lambda: plain.many(queries, documents))
    before = measure(relevance, [list(range(len(r))) for r in relevance], missed)
    after = measure(relevance, [[h.index for h in found] for found in hits], missed)
    gains = {m: paired(_mean(after[m] - before[m]), len(every), seed=seed) for m in MEASURES}
    about, diagrams = _calibrated(hits, relevance, seed)
    pairs = sum(map(len, documents))
    return Report(
        task="rerank",
        name=name or type(reranker.scorer).__name__,
        n=len(every),
        seconds=seconds,
        figures=(*_figures(before, after, gains, seed), *about),
        notes=tuple(_notes(relevance, about)),
        tables=(_table(before, after, gains), *_moved(every, queries, before, after)),
        plots=(_plot(before, after), *diagrams),
        settings=settings(
            reranker.scorer, every, seed=seed, documents=pairs, label=_label(reranker), top_k=reranker.top_k
        ),
        outcomes={m: [float(v) for v in after[m]] for m in MEASURES},
    )


def measure(
    relevance: Sequence[Sequence[int]], rankings: Sequence[Ranking], missed: Sequence[Sequence[int]] | None = None
) -> dict[str, Floats]:
    """nDCG@10, MRR@10 and MAP@10 of each query (n,), by ir_measures.

    Args:
        relevance: For each query the relevance of its documents.
        rankings: For each query the numbers of its documents, best first.
        missed: For each query the relevance of documents that are not among them; None: there are none.

    Raises:
        MissingExtraError: ir_measures is not installed.
    """
    ir = extra("ir_measures", "ir_measures")
    wanted = dict(zip(MEASURES, (ir.nDCG @ K, ir.RR @ K, ir.AP @ K), strict=True))
    beyond = missed or [()] * len(relevance)
    judged = [[*found, *more] for found, more in zip(relevance, beyond, strict=True)]
    truth = {str(q): {str(d): int(r) for d, r in enumerate(found)} for q, found in enumerate(judged)}
    # Scores that fall with the rank: trec_eval sorts by score, and ties by the name of the document.
    run = {str(q): {str(d): float(-at) for at, d in enumerate(found)} for q, found in enumerate(rankings)}
    out = {name: np.zeros(len(relevance)) for name in MEASURES}
    names = {str(m): name for name, m in wanted.items()}
    for found in ir.iter_calc(list(wanted.values()), truth, run):
        out[names[str(found.measure)]][int(found.query_id)] = found.value
    return out


def _documents(row: Row) -> list[tuple[str, int]]:
    given = row.fields.get("documents")
    if not isinstance(given, list) or not given:
        raise DataError(f"{row.place}: 'documents' is {str(given)[:40]!r}; expected a list with at least one document.")
    out = []
    for at, document in enumerate(given, 1):
        place = f"{row.place}, document {at}"
        if not isinstance(document, Mapping):
            raise DataError(f"{place} is {type(document).__name__}; expected an object with text and relevance.")
        relevance = document.get("relevance")
        if isinstance(relevance, bool) or not isinstance(relevance, int) or relevance < 0:
            raise DataError(f"{place}: relevance is {relevance!r}; expected a whole number, 0 for irrelevant.")
        out.append((Row(place, dict(document)).text("text"), relevance))
    return out


def _missed(row: Row) -> list[int]:
    given = row.fields.get("missed", [])
    if not isinstance(given, list) or not all(type(r) is int and r > 0 for r in given):
        raise DataError(f"{row.place}: 'missed' is {str(given)[:40]}; expected relevances, whole numbers above 0.")
    return given


def _mean(values: Floats) -> Any:  # noqa: ANN401  a Statistic
    return lambda at: float(values[at].mean())


def _figures(
    before: Mapping[str, Floats], after: Mapping[str, Floats], gains: Mapping[str, Difference], seed: int
) -> list[Figure]:
    out = []
    for m in MEASURES:
        n, gain = len(after[m]), gains[m]
        for what, values in (("", after[m]), (f" ({FIRST})", before[m])):
            low, high = bootstrap(_mean(values), n, seed=seed)
            out.append(Figure(f"{m}{what}", float(values.mean()), n, low, high, "bootstrap"))
        out.append(Figure(f"{m} ({GAIN})", gain.value, n, gain.low, gain.high, f"paired bootstrap, p = {gain.p:.3f}"))
    return out


def _table(before: Mapping[str, Floats], after: Mapping[str, Floats], gains: Mapping[str, Difference]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for m in MEASURES:
        gain, change = gains[m], after[m] - before[m]
        better, worse = int((change > 1e-12).sum()), int((change < -1e-12).sum())
        interval = f"{gain.low:+.3f} to {gain.high:+.3f}"
        rows.append((m, float(before[m].mean()), float(after[m].mean()), gain.value, interval, gain.p, better, worse))
    columns = ("measure", FIRST, "reranked", GAIN, "95 % interval", "p", "queries better", "queries worse")
    return Table("Reranked beside the first stage", columns, tuple(rows), "Paired bootstrap over queries.")


def _moved(
    rows: Sequence[Row], queries: Sequence[str], before: Mapping[str, Floats], after: Mapping[str, Floats]
) -> list[Table]:
    """The queries that gained and lost most."""
    m = MEASURES[0]
    change = after[m] - before[m]
    out = []
    for title, order in (
        ("Biggest losses", np.argsort(change, kind="stable")),
        ("Biggest gains", np.argsort(-change, kind="stable")),
    ):
        sign = -1 if title == "Biggest losses" else 1
        cells: list[tuple[Cell, ...]] = [
            (rows[i].place, queries[i], float(before[m][i]), float(after[m][i]), float(change[i]))
            for i in map(int, order[:WORST])
            if sign * change[i] > 1e-12
        ]
        if cells:
            out.append(Table(title, ("row", "query", FIRST, "reranked", GAIN), tuple(cells), f"By {m}.", texts=True))
    return out


def _plot(before: Mapping[str, Floats], after: Mapping[str, Floats]) -> Plot:
    m = MEASURES[0]
    change = np.sort(after[m] - before[m])[::-1]
    better, worse = int((change > 1e-12).sum()), int((change < -1e-12).sum())
    says = f"Of {change.size} queries {better} gain, {worse} lose and {change.size - better - worse} stay as they were."
    return Plot("differences", f"Change of {m}, query by query", says, {"change": [float(c) for c in change]})


def _calibrated(
    hits: Sequence[Sequence[Hit]], relevance: Sequence[Sequence[int]], seed: int
) -> tuple[list[Figure], list[Plot]]:
    """Of the probability that a document is relevant at all."""
    found = [(h.probability, r[h.index] > 0) for each, r in zip(hits, relevance, strict=True) for h in each]
    p = np.array([x for x, _ in found if x is not None])
    if p.size < len(found) or not found:
        return [], []
    query = np.repeat(np.arange(len(hits)), [len(each) for each in hits])
    truth = np.array([y for _, y in found])
    figures, plot = calibration(p, truth, of="relevance", groups=query, seed=seed)
    return figures, [plot]


def _label(reranker: Reranker) -> str:
    pattern = template(reranker.scorer)
    said = "the query" if reranker.label is None else str(reranker.label)
    return said if pattern is None else f"{said}, in the template {pattern}"


def _notes(relevance: Sequence[Sequence[int]], about: Sequence[Figure]) -> list[str]:
    notes = few("queries", len(relevance))
    barren = sum(not any(found) for found in relevance)
    if barren:
        notes.append(f"{barren} queries have no relevant document among their candidates; they count 0 in both orders.")
    if not about:
        notes.append("The scores are only an order: there are no probabilities whose calibration could be measured.")
    return notes
