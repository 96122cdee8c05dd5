"""Late interaction is the naive MaxSim, whatever is kept, cut or chunked."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Label, LabelError, LabelTooLongError, NotCalibratedError, ScorerError
from headgate.families import late_interaction
from headgate.families.late_interaction import LateInteraction, Weights, densest
from headgate.runtime.batching import Array, Row
from headgate.scores import Ask, judge
from headgate.testing import check_scorer
from tests import tiny

WORDS = tiny.words(*(f"w{i}" for i in range(20)), "needle", "pin")
STATES = np.random.default_rng(0).normal(size=(WORDS.get_vocab_size(), 8)).astype(np.float32)
BOTH = Weights(2.0, 0.5)
ROOM = 14  # of 16 tokens, two of them special


class Tokens:
    """Token states that depend on the token alone, then their mean over the row, specials included."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        self.rows += len(rows)
        return [np.vstack([STATES[row.ids], STATES[row.ids].mean(0)]) for row in rows]


def scorer(weights: Weights = BOTH) -> tuple[LateInteraction, Tokens]:
    forward = Tokens()
    return LateInteraction(tiny.core(forward, WORDS, max_length=16), weights), forward


def unit(v: np.ndarray) -> np.ndarray:
    return np.asarray(v / np.linalg.norm(v))


def naive(text: list[str], label: list[str], weights: Weights) -> float:
    """The score of one window, token by token."""
    best = []
    for a in label:
        best.append(max(float(unit(STATES[WORDS.token_to_id(a)]) @ unit(STATES[WORDS.token_to_id(b)])) for b in text))
    pooled = [
        unit(np.mean([STATES[WORDS.token_to_id(t)] for t in ["[CLS]", *tokens, "[SEP]"]], axis=0))
        for tokens in (text, label)
    ]
    return weights.maxsim * float(np.mean(best)) + weights.cosine * float(pooled[0] @ pooled[1])


WORD = st.sampled_from([f"w{i}" for i in range(20)])
TEXT = st.lists(WORD, min_size=1, max_size=ROOM)


@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, min_size=1, max_size=3), st.floats(0, 3), st.floats(0, 3))
def test_equals_a_naive_loop(texts: list[list[str]], labels: list[list[str]], maxsim: float, cosine: float) -> None:
    weights = Weights(maxsim, cosine)
    scores = scorer(weights)[0].score([" ".join(t) for t in texts], [" ".join(x) for x in labels])
    expected = [[naive(t, x, weights) for x in labels] for t in texts]
    np.testing.assert_allclose(scores.log_odds, expected, atol=1e-4)


def test_long_texts_take_the_best_window() -> None:
    words = [f"w{i % 7}" for i in range(60)]
    words[33:35] = ["needle", "pin"]
    text = " ".join(words)
    scores = scorer()[0].score([text], ["needle pin"])
    windows = [words[a:b] for a, b in late_interaction_windows(60)]
    assert scores.windows[0, 0] == len(windows) == 6
    assert scores.log_odds[0, 0] == pytest.approx(max(naive(w, ["needle", "pin"], BOTH) for w in windows), abs=1e-4)
    assert text[slice(*scores.spans[0, 0])] == "needle pin"


def late_interaction_windows(length: int) -> list[tuple[int, int]]:
    """Of 14 tokens that share 3."""
    starts = [*range(0, length - ROOM, ROOM - 3), length - ROOM]
    return [(s, s + ROOM) for s in starts]


def test_the_span_is_the_tokens_that_matched() -> None:
    text = "w1 w2 needle w3 w4 pin w5"
    spans = scorer()[0].score([text, "pin", "w1 w2"], ["needle pin", "w4", "w1"]).spans
    assert text[slice(*spans[0, 0])] == "needle w3 w4 pin"
    assert text[slice(*spans[0, 1])] == "w4"
    assert text[slice(*spans[0, 2])] == "w1"
    assert "w1 w2"[slice(*spans[2, 2])] == "w1"


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 100])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    texts = ["w1 w2 " * 20, "w3", "needle w1", "w1 w2 " * 20, "pin"]
    asks = [Ask(texts, ["w1 pin", "needle"]), Ask(texts[1:4], ["w3 w4 w5"])]
    whole = scorer()[0].score_many(asks)
    monkeypatch.setattr(late_interaction, "CHUNK", chunk)
    asked: list[int] = []
    part, forward = scorer()

    def counted(rows: Sequence[Row]) -> list[Array]:
        asked.append(len(rows))
        return forward(rows)

    object.__setattr__(part._core, "forward", counted)
    for a, b in zip(part.score_many(asks), whole, strict=True):
        np.testing.assert_allclose(a.log_odds, b.log_odds, atol=1e-6)
        assert (a.spans == b.spans).all()
        assert (a.windows == b.windows).all()
    assert max(asked[1:]) <= chunk  # the first call is the labels'


def test_a_text_is_read_once_for_all_labels_and_asks() -> None:
    late, forward = scorer()
    late.score_many([Ask(["w1 w2", "w3"], ["w1", "w2"]), Ask(["w3", "w1 w2"], ["w2", "w4"])])
    assert forward.rows == 3 + 2


def test_kept_states_give_equal_scores_for_less() -> None:
    late, forward = scorer()
    texts = ["w1 w2", "w3 " * 30, "needle"]
    first = late.score(texts, ["w1", "pin"])
    kept = late.cached()
    kept.score(texts, ["w1"])
    forward.rows = 0
    again = kept.score(texts, ["w1", "pin"])
    assert forward.rows == 1  # "pin" alone is new
    np.testing.assert_array_equal(again.log_odds, first.log_odds)
    assert (again.spans == first.spans).all()
    assert kept.fingerprint == late.fingerprint


def test_a_text_without_tokens_matches_nothing() -> None:
    """Unread or empty, it ranks below a text that was read and does not match."""
    tok = tiny.tokenizer("bert")  # drops control characters
    states = np.random.default_rng(0).normal(size=(tok.get_vocab_size(), 8)).astype(np.float32)

    def forward(rows: Sequence[Row]) -> list[Array]:
        return [np.vstack([states[row.ids], states[row.ids].mean(0)]) for row in rows]

    late = LateInteraction(tiny.core(forward, tok), Weights(2.0, 0.0))
    scores = late.score(["\x00\x01", "", "soil moisture"], ["the hub"])
    assert scores.log_odds[0, 0] == -2  # the least that a MaxSim can be
    assert scores.log_odds[:, 0].argsort().tolist() == [1, 0, 2]
    assert scores.unknown.tolist() == [1, 0, 0]


@pytest.mark.parametrize(("words", "fits"), [(14, True), (15, False)])
def test_a_label_is_never_cut(words: int, fits: bool) -> None:
    late, _ = scorer()
    label = " ".join(["w1"] * (words - 1) + ["needle"])
    if fits:
        weights = Weights(2.0, 0.5)
        assert late.score(["w2"], [label]).log_odds[0, 0] == pytest.approx(
            naive(["w2"], label.split(), weights), abs=1e-4
        )
        return
    with pytest.raises(LabelTooLongError, match="has 15 tokens; expected at most 14"):
        late.score(["w2"], ["w1", label])


def test_what_it_does_not_know() -> None:
    late, forward = scorer()
    with pytest.raises(LabelError, match="contradiction"):
        late.score(["w1"], [Label("w2", relation="contradiction")])
    with pytest.raises(NotCalibratedError):
        _ = late.score(["w1"], ["w2"]).probabilities
    assert late.score([], ["w2"]).log_odds.shape == (0, 1)
    assert late.score_many([]) == []
    broken = LateInteraction(tiny.core(lambda rows: [a * np.nan for a in forward(rows)], WORDS), Weights(1.0, 1.0))
    with pytest.raises(ScorerError, match="nan"):
        judge(broken, [Ask(["w1"], ["w2"])])


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12).map(sorted), st.integers(1, 30))
def test_densest_holds_most(positions: list[int], width: int) -> None:
    start, end = densest(np.array(positions, dtype=np.int32), width)
    assert start in positions
    assert end - 1 in positions
    assert end - start <= width

    def inside(a: int, b: int) -> int:
        return sum(a <= p < b for p in positions)

    assert inside(start, end) == max(inside(p, p + width) for p in positions)


def test_contract() -> None:
    check_scorer(scorer()[0], labels=["w1 w2", "needle", "w3"])
    check_scorer(scorer()[0].cached(), labels=["w1 w2", "needle", "w3"])
