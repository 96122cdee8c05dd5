"""Routing: the right route, and none where none is right."""

from collections.abc import Sequence

import numpy as np

from headgate.decision import Decision
from headgate.evaluate.choices import Choices, Part, confident, details, macro_f1
from headgate.evaluate.common import (
    figure,
    label_table,
    labelled,
    named,
    settings,
    share,
    thinned,
    timed,
)
from headgate.evaluate.metrics import Bools, Floats, auroc, declined_at_retention, f1, roc
from headgate.evaluate.report import Cell, Figure, Plot, Report, Table, few, matrix
from headgate.evaluate.rows import Source, read_rows
from headgate.route import Router
from headgate.scores import judge

RETAINED = 0.95


def route(router: Router, rows: Source, *, name: str | None = None, seed: int = 0) -> Report:
    """Measure a router with its own threshold: what it sends right, and what it rightly declines.

    A row whose label is null is out of scope. A row with several labels is right if the choice is one of them; of a
    multi-label router all chosen routes must be the true ones. How far a text is in scope is told by the highest
    log-odds of its routes, which order texts as 1 - P(none) does and never saturate. Confidence is the probability of
    the best route, chosen or not; risk, coverage and calibration are of it, over all rows, and are the same for every
    threshold.

    Args:
        router: The router, with its routes and threshold.
        rows: ``{"text": …, "label": …}``; null for none of the routes.
        name: The model's name in the report.
        seed: Of the bootstrap.

    Raises:
        DataError: A row is wrong, or its label is no route; before anything is scored.
        NotCalibratedError: The scores are only an order.
    """
    routes, every = named(router.routes), read_rows(rows)
    texts, truths = labelled(every, list(routes))
    if router.certificate is not None:
        router.certificate.warn(texts)
    (scores,), seconds = timed(lambda: judge(router.scorer, router.ask(texts)))
    decisions = router.decide([scores])
    best = [max(d.log_odds, key=d.log_odds.__getitem__) for d in decisions]
    sure = np.array([d.probabilities[b] for d, b in zip(decisions, best, strict=True)])
    found = Choices(every, texts, truths, [d.choice for d in decisions], sure, list(routes))
    right, chosen = _right(router, decisions, truths), [d.choices for d in decisions]
    forced = np.array([b in truth for b, truth in zip(best, truths, strict=True)])
    inside = np.array([bool(truth) for truth in truths])
    top = scores.log_odds.max(axis=1).astype(np.float64)
    scope, more = _scope(inside, top, seed), details(found)
    about = confident(found, forced, of="the best route", seed=seed)
    figures = _decided(decisions, right, forced, inside)
    tables = [] if router.multi else [_thresholds(sure, forced, inside)]
    return Report(
        task="route",
        name=name or type(router.scorer).__name__,
        n=len(every),
        seconds=seconds,
        figures=(*figures, *scope.figures, _macro(router, found, chosen, seed), *about.figures),
        notes=tuple(_notes(inside, np.array([d.choice is not None for d in decisions]), forced, router.multi)),
        tables=(label_table(routes, router.scorer, truths), *tables, *about.tables, *more.tables),
        plots=(*more.plots, *scope.plots, *about.plots),
        settings=settings(
            router.scorer, every, seed=seed, labels=list(routes), threshold=router.threshold, multi=router.multi
        ),
        outcomes={
            "truth": truths if router.multi else [[t] for t in found.truth],
            "said": chosen if router.multi else [[a] for a in found.answer],
            "right decisions": [float(r) for r in right],
        },
    )


def _right(router: Router, decisions: Sequence[Decision], truths: Sequence[tuple[str, ...]]) -> Bools:
    pairs = zip(decisions, truths, strict=True)
    if router.multi:
        return np.array([set(d.choices) == set(truth) for d, truth in pairs])
    return np.array([d.choice in truth if d.choice is not None else not truth for d, truth in pairs])


def _macro(router: Router, found: Choices, chosen: Sequence[tuple[str, ...]], seed: int) -> Figure:
    if not router.multi:
        return macro_f1(found, seed)
    truth, said = matrix(found.truths, found.names), matrix(chosen, found.names)
    return figure("macro F1", lambda at: f1(truth[at], said[at]), len(truth), seed=seed)


def _decided(decisions: Sequence[Decision], right: Bools, forced: Bools, inside: Bools) -> list[Figure]:
    declined = np.array([d.choice is None for d in decisions])
    figures = []
    if inside.any():
        figures.append(share("in-scope accuracy", right[inside]))
    if not inside.all():
        figures.append(share("out-of-scope recall", declined[~inside]))
    figures.append(share("right decisions", right))
    if inside.any():
        figures.append(share("in-scope kept (not declined)", ~declined[inside], better=""))
        figures.append(share("in-scope accuracy of the best route, none declined", forced[inside]))
    return figures


def _scope(inside: Bools, top: Floats, seed: int) -> Part:
    """How well in scope and out of scope are told apart, whatever the threshold."""
    if inside.all() or not inside.any():
        return Part([], [], [])
    n, strata = len(inside), inside.astype(np.int64)
    figures = [
        figure("AUROC, in scope against out", lambda at: auroc(inside[at], top[at]), n, seed=seed, strata=strata),
        figure(
            f"out-of-scope recall at {RETAINED:.0%} in-scope retention",
            lambda at: declined_at_retention(top[at][inside[at]], top[at][~inside[at]], RETAINED),
            n,
            seed=seed,
            strata=strata,
        ),
    ]
    rates, recalls = roc(inside, top)
    says = f"In scope told from out of scope: area {figures[0].value:.3f}, {n} rows."
    curves = {"in scope": thinned(rate=rates, recall=recalls)}
    return Part(figures, [], [Plot("roc", "ROC, in scope against out of scope", says, {"curves": curves})])


def _thresholds(sure: Floats, forced: Bools, inside: Bools) -> Table:
    """What a router that takes the best route from some probability up would have done with these rows."""
    rows: list[tuple[Cell, ...]] = []
    for threshold in np.unique(np.quantile(sure, np.arange(0, 1, 0.1)).round(3)):
        chosen = sure >= threshold
        accuracy = float((chosen & forced)[inside].mean()) if inside.any() else None
        declined = float((~chosen)[~inside].mean()) if not inside.all() else None
        rows.append((float(threshold), accuracy, declined, float(np.where(inside, chosen & forced, ~chosen).mean())))
    columns = ("threshold", "in-scope accuracy", "out-of-scope recall", "right decisions")
    note = "Router(threshold=…) of one route a text. Choose it on other rows than those you report."
    return Table("What other thresholds would do", columns, tuple(rows), note)


def _notes(inside: Bools, kept: Bools, forced: Bools, multi: bool) -> list[str]:
    n_in, n_out = int(inside.sum()), int((~inside).sum())
    notes = few("rows in scope", n_in) if n_in else ["No row is in scope: how often the route is right is unknown."]
    if multi:
        notes.append("Several routes may be true: the confusion matrix and the worst errors show each row's best one.")
    if n_in and not kept[inside].mean() >= 0.5:
        notes.append(
            f"The router declines {1 - kept[inside].mean():.0%} of what is in scope; the best route is "
            f"right {forced[inside].mean():.0%} of the time: choose a threshold, or fit a Calibration, on your data."
        )
    if not n_out:
        return [*notes, "No row is out of scope: how often this router declines what it should is unknown."]
    return [*notes, *few("rows out of scope", n_out)]
