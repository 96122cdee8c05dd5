"""Readers of the same states run a row once a call, in whatever order they ask."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import ClosedError
from headgate.runtime import states
from headgate.runtime.batching import Array, Row
from headgate.runtime.cache import CachedForward
from headgate.runtime.states import FromStates, Memo, Remembering, Seen
from headgate.runtime.torch_forward import Batch, TorchForward

WIDTH = 3


def row(*ids: int) -> Row:
    return Row(np.array(ids, dtype=np.int32))


ROWS = [row(1), row(2, 3), row(1), row(4, 5, 6)]


class Encoder:
    """Every token's state is its id; the pooled one their mean. Counts the rows it runs."""

    def __init__(self) -> None:
        self.rows = 0

    def states(self, batch: Batch) -> list[torch.Tensor]:
        self.rows += len(batch.lengths)
        tokens = [ids[:n, None].float().expand(n, WIDTH) for ids, n in zip(batch.ids, batch.lengths, strict=True)]
        return [torch.cat([t, t.mean(0, keepdim=True)]) for t in tokens]

    def pooled(self, batch: Batch) -> torch.Tensor:
        return torch.stack([s[-1] for s in self.states(batch)])

    def forward(self, kind: str, key: object = "encoder") -> TorchForward:
        """Reads "tokens", the "pooled" state, or its "double"."""
        alone = {"tokens": self.states, "pooled": self.pooled, "double": lambda batch: 2 * self.pooled(batch)}[kind]
        read = {"tokens": None, "pooled": lambda x: x, "double": lambda x: 2 * x}[kind]
        module = FromStates(alone, self.states, self.pooled, self, key, read)
        return TorchForward(module, torch.device("cpu"), pad=0)


kinds = st.sampled_from(["tokens", "pooled", "double"])
asked = st.lists(st.sampled_from(ROWS), max_size=5)


@given(st.lists(st.tuples(kinds, st.lists(asked, max_size=3)), min_size=2, max_size=4))
def test_every_reader_gets_what_it_gets_alone_and_no_row_runs_twice(readers: list[tuple[str, list[list[Row]]]]) -> None:
    encoder, plain, memo = Encoder(), Encoder(), {}
    twins = [encoder.forward(kind).remembering(memo) for kind, _ in readers]
    for twin, (kind, calls) in zip(twins, readers, strict=True):
        for rows in calls:
            for found, expected in zip(twin(rows), plain.forward(kind)(rows), strict=True):
                np.testing.assert_array_equal(found, expected)
    distinct = {r.key for _, calls in readers for rows in calls for r in rows}
    assert encoder.rows == len(distinct)


def test_token_states_are_run_only_where_one_reads_them() -> None:
    encoder, memo = Encoder(), {}
    first, second = (encoder.forward(kind).remembering(memo) for kind in ("pooled", "double"))
    first(ROWS)
    (seen,) = memo.values()
    assert isinstance(seen, Seen)
    assert {a.shape for a in seen.kept.values()} == {(WIDTH,)}
    second(ROWS)
    assert encoder.rows == 3


def test_other_states_are_not_shared_and_one_reader_keeps_nothing() -> None:
    encoder, memo = Encoder(), {}
    one, other = (encoder.forward("double", key).remembering(memo) for key in ("mean", "cls"))
    one(ROWS)
    other(ROWS)
    assert encoder.rows == 6
    assert not any(seen.kept for seen in memo.values())


def test_what_has_no_room_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "KEPT_BYTES", 4 * WIDTH * (1 + 1))  # the states of a row of one token
    encoder, memo = Encoder(), {}
    readers = [encoder.forward(kind).remembering(memo) for kind in ("tokens", "double")]
    plain = [Encoder().forward(kind)(ROWS) for kind in ("tokens", "double")]
    for reader, expected in zip(readers, plain, strict=True):
        for a, b in zip(reader(ROWS), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert encoder.rows == 3 + 2
    (seen,) = memo.values()
    assert seen.size == sum(a.nbytes for a in seen.kept.values()) == 4 * WIDTH * 2


def test_who_asks_first_has_done_the_work() -> None:
    encoder, memo = Encoder(), {}
    heads, tokens = encoder.forward("double"), encoder.forward("tokens")
    twins = [f.remembering(memo) for f in (heads, tokens)]
    for twin in twins:
        twin(ROWS)
    assert (heads.work.rows, tokens.work.rows) == (3, 0)
    assert heads.work.tokens == 6


def test_a_closed_one_says_so_though_all_is_known() -> None:
    encoder, memo = Encoder(), {}
    heads, tokens = encoder.forward("double"), encoder.forward("tokens")
    first, second = (f.remembering(memo) for f in (heads, tokens))
    first(ROWS)
    tokens.close()
    with pytest.raises(ClosedError):
        second(ROWS)
    assert tokens.remembering({}) is tokens


def test_a_module_that_reads_no_states_stays_as_it_is() -> None:
    forward = TorchForward(lambda batch: batch.ids.float(), torch.device("cpu"), pad=0)
    assert forward.remembering({}) is forward


def test_no_rows() -> None:
    memo: Memo = {}
    for reader in [Encoder().forward(kind).remembering(memo) for kind in ("tokens", "double")]:
        assert reader([]) == []


def test_a_cache_looks_first_and_keeps_what_others_have_run() -> None:
    encoder = Encoder()
    heads, cached = encoder.forward("double"), CachedForward(encoder.forward("tokens"), 1 << 20)
    cached(ROWS[:1])
    for times in range(2):
        memo: Memo = {}
        first, second = heads.remembering(memo), cached.remembering(memo)
        first(ROWS)
        found = second(ROWS)
        assert encoder.rows == 1 + 3 * (times + 1)
        for a, b in zip(found, Encoder().forward("tokens")(ROWS), strict=True):
            np.testing.assert_array_equal(a, b)
    assert cached(ROWS)[3].shape == (4, WIDTH)
    assert encoder.rows == 7


def test_a_cache_over_what_shares_nothing_stays_as_it_is() -> None:
    def plain(rows: list[Row]) -> list[Array]:
        return [np.zeros(1, dtype=np.float32) for _ in rows]

    cache = CachedForward(plain, 100)
    assert cache.remembering({}) is cache


def test_what_is_kept_is_a_copy_of_its_own() -> None:
    batch = np.ones((2, WIDTH), dtype=np.float32)

    def through(rows: list[Row], module: object = None) -> list[Array]:
        return list(batch[: len(rows)])

    memo: Memo = {}
    module = FromStates(Encoder().pooled, Encoder().states, Encoder().pooled, "encoder", "mean", lambda x: x)
    one, _ = (Remembering(through, module, memo) for _ in range(2))
    one(ROWS[:2])
    (seen,) = memo.values()
    assert isinstance(seen, Seen)
    assert all(a.base is None for a in seen.kept.values())
