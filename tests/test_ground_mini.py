"""Grounding with the model that comes along: what it finds, and where."""

from dataclasses import replace

import pytest

from headgate import Grounding, load

pytest.importorskip("sentencex")
PASSAGES = [
    "The Loom hub weighs 340 grams. It has two USB ports and a speaker. It was first sold in Oslo in March 2021.",
    "Returns are accepted within 30 days. Refunds are paid the way you paid.",
]
OTHERS = ["The museum opens at nine. Its garden is closed in winter.", "Bread is baked every morning.", "", "No news."]


@pytest.fixture(scope="module")
def check() -> Grounding:
    return Grounding(load("mini/nli", device="cpu").cached(), threshold=0.2, contradiction=0.5)


def test_verdicts_and_the_words_they_rest_on(check):
    answer = "You can return it within 30 days. No returns are accepted! It weighs 430 grams."
    found = check(answer, PASSAGES)
    assert [c.verdict for c in found] == ["supported", "contradicted", "no evidence"]
    assert [answer[slice(*c.span)] for c in found] == [c.sentence for c in found]
    for claim in found[:2]:
        best = claim.citations[0]
        assert PASSAGES[best.passage][slice(*best.span)] == "Returns are accepted within 30 days."
    assert found[2].missing == ("430",)


def test_what_is_supported_stays_so_among_other_passages(check):
    answer = "The hub has a speaker. You can return it within 30 days."
    alone = check(answer, PASSAGES)
    for passages in (OTHERS + PASSAGES, PASSAGES + OTHERS, OTHERS[:2] + PASSAGES[::-1] + OTHERS[2:]):
        among = check(answer, passages)
        assert all(c.supported for c in among)
        for one, other in zip(alone, among, strict=True):
            assert other.probability >= one.probability - 1e-4


def test_a_sentence_in_the_middle_of_a_long_passage_is_cited(check):
    filler = "The museum opens at nine and closes at five on every day of the week. "
    passage = filler * 40 + "Returns are accepted within 30 days. " + filler * 40
    (found,) = check("You can return it within 30 days.", [passage])
    start, end = found.citations[0].span
    assert passage[start:end] == "Returns are accepted within 30 days."
    (found,) = replace(check, cite="windows", threshold=0.0)("You can return it within 30 days.", [passage])
    start, end = found.citations[0].span
    assert 100 < end - start < len(passage) / 2  # a window of it
