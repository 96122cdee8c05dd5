"""Cutting: every row in exactly one part, the same every time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.label import Part, cut, runs


@given(rows=st.integers(0, 5000), size=st.integers(1, 700), source=st.integers(0, 3))
def test_every_row_is_in_exactly_one_part(rows, size, source):
    parts = cut(rows, size, source)
    assert [row for p in parts for row in range(p.start, p.start + p.rows)] == list(range(rows))
    assert all(p.rows == size for p in parts[:-1])
    assert parts[-1].rows <= size
    assert parts == cut(rows, size, source)
    assert len({p.name("a/b.parquet", ".parquet") for p in parts}) == len(parts)


@given(
    sizes=st.lists(st.integers(0, 40), max_size=5), size=st.integers(1, 9), together=st.integers(1, 5), data=st.data()
)
def test_runs_keep_all_parts_in_order_and_are_neighbours(sizes, size, together, data):
    every = [p for source, rows in enumerate(sizes) for p in cut(rows, size, source)]
    parts = [p for p in every if data.draw(st.booleans())]
    found = list(runs(parts, together))
    assert [p for run in found for p in run] == parts
    for run in found:
        assert 1 <= len(run) <= together
        assert all(a.source == b.source and a.start + a.rows == b.start for a, b in pairwise(run))


@given(parts=st.lists(st.tuples(st.integers(0, 99_999), st.integers(0, 10**12 - 1)), min_size=2, max_size=9))
def test_names_sort_as_the_rows_do(parts):
    ordered = [Part(source, start, 1) for source, start in sorted(parts)]
    names = [p.name("corpus.jsonl", ".jsonl") for p in ordered]
    assert names == sorted(names)


def test_a_part_has_rows():
    with pytest.raises(ValueError, match="part_rows is 0"):
        cut(5, 0)
