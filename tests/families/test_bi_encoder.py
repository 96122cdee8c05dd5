"""Bi-encoders: unit vectors, prompts, windows; and their cosine as an order."""

import numpy as np
import pytest

from headgate import Label, LabelError, LabelTooLongError, NotCalibratedError, ScorerError
from headgate.families.bi_encoder import BiEncoder
from headgate.scores import Ask, judge
from headgate.testing import check_scorer
from tests import tiny

WORDS = tiny.words(*(f"w{i}" for i in range(10)), "needle", "query:", "passage:")
RNG = np.random.default_rng(0)
WORTH = {
    w: RNG.normal(size=6).tolist() for w in ["[CLS]", *(f"w{i}" for i in range(10)), "needle", "query:", "passage:"]
}
PROMPTS = {"query": "query:", "document": "passage: "}


def encoder(prompts: dict[str, str] | None = None) -> tuple[BiEncoder, tiny.Reacts]:
    forward = tiny.Reacts(WORDS, WORTH, 6)
    return BiEncoder(tiny.core(forward, WORDS, max_length=16), prompts), forward


def vector(*words: str) -> np.ndarray:
    v = np.sum([WORTH[w] for w in {"[CLS]", *words}], axis=0)
    return np.asarray(v / np.linalg.norm(v))


def test_unit_rows_in_order() -> None:
    found = encoder()[0].embed(["w1 w2", "w3", "w1 w2"], role="document")
    assert found.dtype == np.float32
    expected = [vector("w1", "w2"), vector("w3"), vector("w1", "w2")]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_long_text_is_the_mean_of_its_windows() -> None:
    scorer, forward = encoder()
    text = " ".join(["w1"] * 12 + ["w2"] * 9 + ["needle"] * 9)
    (found,) = scorer.embed([text], role="document")
    pieces = [{w for w in row.split() if w not in ("[CLS]", "[SEP]")} for row in forward.read(WORDS)]
    assert len(pieces) == 3
    mean = np.mean([vector(*p) for p in pieces], axis=0)
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)


def test_prompts_go_with_the_role() -> None:
    scorer, forward = encoder(PROMPTS)
    scorer.embed(["w1"], role="query")
    scorer.embed(["w1"], role="document")
    scorer.score(["w2"], ["w3"])
    assert forward.read(WORDS) == [
        "[CLS] query: w1 [SEP]",
        "[CLS] passage: w1 [SEP]",
        "[CLS] query: w3 [SEP]",
        "[CLS] passage: w2 [SEP]",
    ]


def test_every_window_has_the_prompt() -> None:
    scorer, forward = encoder(PROMPTS)
    scorer.embed([" ".join(["w1"] * 40)], role="document")
    assert len(forward.rows) > 3
    assert all(row.startswith("[CLS] passage: w1") for row in forward.read(WORDS))
    assert {len(r.ids) for r in forward.rows} == {16}


def test_the_score_is_the_cosine_of_query_and_document() -> None:
    scorer, _ = encoder(PROMPTS)
    texts, labels = ["w1 w2", "needle", "w4"], ["w1", "needle w3"]
    documents = [vector("passage:", *t.split()) for t in texts]
    queries = [vector("query:", *label.split()) for label in labels]
    scores = scorer.score(texts, labels)
    np.testing.assert_allclose(scores.log_odds, np.array(documents) @ np.array(queries).T, atol=1e-6)
    assert scores.meaning == "order"
    with pytest.raises(NotCalibratedError):
        _ = scores.probabilities


def test_the_best_window_counts_and_is_the_span() -> None:
    words = ["w1"] * 60
    words[40] = "needle"
    text = " ".join(words)
    scorer, forward = encoder()
    scores = scorer.score([text], ["needle", "w1"])
    assert scores.log_odds[0, 0] == pytest.approx(vector("w1", "needle") @ vector("needle"), abs=1e-6)
    assert "needle" in text[slice(*scores.spans[0, 0])]
    assert "needle" not in text[slice(*scores.spans[0, 1])]
    assert scores.windows[0, 0] == len(forward.rows) - 2


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_empty_text(text: str) -> None:
    scorer, _ = encoder(PROMPTS)
    (found,) = scorer.embed([text], role="query")
    assert np.linalg.norm(found) == pytest.approx(1)
    scores = scorer.score([text, "w9"], ["needle"])
    assert scores.empty.tolist() == [True, False]
    assert scores.log_odds[0, 0] < scores.log_odds[1, 0]


def test_nothing_to_embed() -> None:
    scorer, forward = encoder()
    assert len(scorer.embed([], role="document")) == 0
    assert scorer.score([], ["w1"]).log_odds.shape == (0, 1)
    assert scorer.score_many([]) == []
    assert len(forward.rows) <= 1


def test_bad_arguments() -> None:
    scorer, _ = encoder()
    with pytest.raises(TypeError, match=r"pass \['w1 w2'\]"):
        scorer.embed("w1 w2", role="query")
    with pytest.raises(ValueError, match=r"'passage'.*\"query\" or \"document\""):
        scorer.embed(["w1"], role="passage")  # type: ignore[arg-type]
    with pytest.raises(LabelError, match="contradiction"):
        scorer.score(["w1"], [Label("w2", relation="contradiction")])


@pytest.mark.parametrize(("words", "fits"), [(13, True), (14, False)])
def test_a_label_is_never_cut(words: int, fits: bool) -> None:
    scorer, forward = encoder(PROMPTS)  # 16 tokens: two special ones and the prompt
    label = " ".join(["w1"] * words)
    if fits:
        scorer.score(["w1"], [label])
        assert f"[CLS] query: {label} [SEP]" in forward.read(WORDS)
        return
    with pytest.raises(LabelTooLongError, match="has 14 tokens; expected at most 13"):
        scorer.score(["w1"], ["w2", label])


def test_nan_is_refused() -> None:
    scorer, forward = encoder()
    forward._worth[WORDS.token_to_id("w9")] = np.full(6, np.nan, np.float32)
    for text in ("w9", "w9 " + "w1 " * 40, "w1 " * 40 + "w9"):
        with pytest.raises(ScorerError, match="nan"):
            judge(scorer, [Ask([text], ["w1"])])


def test_contract() -> None:
    check_scorer(encoder(PROMPTS)[0], labels=["w1 w2", "needle", "w3"])
