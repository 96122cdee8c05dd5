"""The plan runs every row once within its budget; nobody can tell from the answer."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.runtime.batching import BATCH, Answers, Array, Row, plan, run

LENGTHS = st.lists(st.integers(1, 60), max_size=40)
BUDGETS = st.integers(1, 300)


def row(*ids: int, types: tuple[int, ...] | None = None) -> Row:
    kinds = None if types is None else np.array(types, dtype=np.int32)
    return Row(np.array(ids, dtype=np.int32), kinds)


def said(rows: list[Row]) -> list[Array]:
    """An answer of another size for every length, that tells rows apart."""
    return [np.append(r.ids, 0 if r.types is None else r.types.sum() + 1).astype(np.float32) for r in rows]


@given(LENGTHS, BUDGETS)
def test_plan_is_a_permutation_within_budget(lengths: list[int], budget: int) -> None:
    batches = plan(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= budget or len(batch) == 1
    longest_first = [lengths[i] for batch in batches for i in batch]
    assert longest_first == sorted(lengths, reverse=True)


def cost(batches: list[list[int]], lengths: list[int], budget: int) -> float:
    return sum(len(b) * max(lengths[i] for i in b) + budget / BATCH for b in batches)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), BUDGETS)
def test_no_other_cut_of_the_sorted_rows_costs_less(lengths: list[int], budget: int) -> None:
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    found = cost(plan(lengths, budget), lengths, budget)
    for cuts in itertools.product([False, True], repeat=len(lengths) - 1):
        ends = [k + 1 for k, cut in enumerate(cuts) if cut]
        batches = [order[a:b] for a, b in itertools.pairwise([0, *ends, len(lengths)])]
        if all(len(b) == 1 or len(b) * lengths[b[0]] <= budget for b in batches):
            assert found <= cost(batches, lengths, budget) + 1e-6


def test_rows_of_one_length_fill_the_budget() -> None:
    assert [len(batch) for batch in plan([10] * 25, 100)] == [10, 10, 5]


@pytest.mark.parametrize("budget", [0, -5])
def test_no_budget(budget: int) -> None:
    with pytest.raises(ValueError, match=f"max_tokens is {budget}"):
        plan([1], budget)


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), max_size=30), BUDGETS)
def test_run_restores_the_order_and_runs_equal_rows_once(ids: list[list[int]], budget: int) -> None:
    rows = [row(*i) for i in ids]
    ran: list[Row] = []

    def launch(part: list[Row]) -> Answers:
        ran.extend(part)
        return lambda: said(part)

    found = run(rows, budget, launch)
    assert [a.tolist() for a in found] == [a.tolist() for a in said(rows)]
    assert len(ran) == len({tuple(i) for i in ids})


def test_no_rows_no_batches() -> None:
    def launch(part: list[Row]) -> Answers:
        raise AssertionError(part)

    assert run([], 10, launch) == []


def test_a_batch_is_launched_before_the_one_before_is_read() -> None:
    happened: list[str] = []

    def launch(part: list[Row]) -> Answers:
        number = len(part[0].ids)

        def read() -> list[Array]:
            happened.append(f"read {number}")
            return said(part)

        happened.append(f"launch {number}")
        return read

    rows = [row(*range(n)) for n in (3, 1, 2)]
    assert [a.tolist() for a in run(rows, 1, launch)] == [a.tolist() for a in said(rows)]
    assert happened == ["launch 3", "launch 2", "read 3", "launch 1", "read 2", "read 1"]


def test_rows_that_differ_only_in_types_are_two() -> None:
    rows = [row(1, 2, types=(0, 1)), row(1, 2, types=(0, 0)), row(1, 2), row(1, 2, types=(0, 1))]
    ran: list[int] = []

    def launch(part: list[Row]) -> Answers:
        ran.append(len(part))
        return lambda: said(part)

    assert [a.tolist() for a in run(rows, 100, launch)] == [a.tolist() for a in said(rows)]
    assert sum(ran) == 3


def test_a_batch_that_loses_a_row_raises() -> None:
    with pytest.raises(ValueError, match="shorter"):
        run([row(1), row(2)], 100, lambda part: lambda: said(part)[:1])
