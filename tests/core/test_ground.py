"""A sentence is supported if some text of the passages says it, and nothing else that is read takes that away."""

import json
import re
import sys
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate import Ask, Grounding, Label, LabelError, MissingExtraError, NotCalibratedError, Scores, judge
from headgate.scores import logistic
from headgate.testing import ToyScorer


def split(text):
    return [m.span() for m in re.finditer(r"[^\s.][^.]*\.?", text)]


@dataclass(eq=False)
class Says:
    """Log-odds by text and claim, from what a test says of words that the text holds; else -9."""

    entailed: dict = field(default_factory=dict)
    contradicted: dict = field(default_factory=dict)
    parts: dict = field(default_factory=dict)
    thresholds: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    joint: bool = False
    labels: tuple | None = None
    fingerprint: str = "says"

    def score(self, texts, labels):
        return self.score_many([Ask(texts, labels)])[0]

    def score_many(self, asks):
        self.calls.append(asks)
        return [self.one(ask.texts, ask.labels) for ask in asks]

    def one(self, texts, labels):
        z = np.full((len(texts), len(labels)), -9.0)
        for i, text in enumerate(texts):
            for j, label in enumerate(labels):
                assert label.verbatim
                said = self.entailed if label.relation == "entailment" else self.contradicted
                z[i, j] = said.get((text, label.text), -9.0)
        found = Scores.of(z, texts)
        unknown = [self.parts.get(text, 0.0) for text in texts]
        return replace(found, unknown=np.array(unknown, np.float32))


def ground(entailed, answer, passages, contradicted=(), **settings):
    scorer = Says(dict(entailed), dict(contradicted))
    return Grounding(scorer, split, **{"threshold": 0.5, **settings})(answer, passages)


# ------------------------------------------------------------------------------------- the verdict

claim = st.sampled_from(["A 1.", "B 2.", "C “x”."])
passage = st.sampled_from(["p 1. q.", "q. r 2.", "“x” r.", "1 2 x", "", " ", "s.", "1. 2. x."])
passages = st.lists(passage, max_size=4)


@dataclass(eq=False)
class Whims(Says):
    """Log-odds that are anybody's guess, but the same for the same text and claim."""

    seed: int = 0

    def one(self, texts, labels):
        z = [[np.random.default_rng([self.seed, *map(ord, t + str(x))]).normal(0, 3) for x in labels] for t in texts]
        return Scores.of(np.array(z).reshape(len(texts), len(labels)), texts)


@given(st.lists(claim, max_size=3), passages, passages, st.integers(0, 99), st.floats(0, 1), st.booleans(), st.data())
def test_more_passages_never_make_a_supported_claim_unsupported(claims, few, more, seed, threshold, literals, data):
    check = Grounding(Whims(seed=seed), split, threshold=threshold, contradiction=0.5, literals=literals)
    at = data.draw(st.integers(0, len(few)))
    before = check(" ".join(claims), few)
    after = check(" ".join(claims), [*few[:at], *more, *few[at:]])
    for one, other in zip(before, after, strict=True):
        assert other.supported or not one.supported
        assert not (one.verdict == "contradicted" and other.verdict == "no evidence")
        assert len(other.missing) <= len(one.missing)


@given(st.lists(claim, max_size=3), passages, passages, st.integers(0, 99), st.integers(0, 5))
def test_with_pairs_too_if_they_come_last(claims, few, more, seed, pairs):
    check = Grounding(Whims(seed=seed), split, threshold=0.7, pairs=pairs)
    before, after = (check(" ".join(claims), some) for some in (few, few + more))
    assert {c.span for c in before if c.supported} <= {c.span for c in after if c.supported}


@given(passages, st.integers(0, 99), st.floats(0, 1), st.sampled_from(["sentences", "windows"]))
def test_supported_is_entailed_by_a_text_that_holds_its_numbers(some, seed, threshold, cite):
    scorer = Whims(seed=seed)
    (found,) = Grounding(scorer, split, threshold=threshold, cite=cite)("A 1.", some)
    texts = [*some, *([p[a:b] for p in some for a, b in split(p)] if cite == "sentences" else [])]
    texts = [t for t in texts if "1" in t]
    p = logistic(scorer.one(texts, [Label("A 1.", verbatim=True)]).log_odds) if texts else np.zeros(0)
    assert found.supported == bool((p >= threshold).any())
    assert found.missing == (() if texts else ("1",))
    assert not texts or found.probability == pytest.approx(p.max())
    for citation in found.citations:
        assert citation.probability >= threshold
        assert "1" in some[citation.passage][slice(*citation.span)]


def test_each_sentence_has_a_verdict_of_its_own():
    found = ground(
        {("p", "One."): 1.0, ("q", "Three."): 2.0},
        " One. Two.\nThree.",
        ["p", "q"],
        {("q", "Two."): 3.0, ("q", "One."): 9.0},
        contradiction=0.9,
    )
    assert [(c.sentence, c.verdict, c.supported) for c in found] == [
        ("One.", "supported", True),
        ("Two.", "contradicted", False),
        ("Three.", "supported", True),
    ]
    assert [c.span for c in found] == [(1, 5), (6, 10), (11, 17)]
    assert [c.probability for c in found] == pytest.approx(logistic([1.0, -9.0, 2.0]))
    assert [c.contradiction for c in found] == pytest.approx(logistic([9.0, 3.0, -9.0]))
    assert [[x.passage for x in c.citations] for c in found] == [[0], [1], [1]]
    assert found[1].citations[0].log_odds == 3.0
    assert found[0].thresholds == {"supported": 0.5, "contradicted": 0.9}


def test_contradicted_from_its_own_threshold_up_and_only_if_asked():
    said = {("p", "One."): 2.0}
    p = float(logistic(2.0))
    assert ground({}, "One.", ["p"], said, contradiction=p)[0].verdict == "contradicted"
    assert ground({}, "One.", ["p"], said, contradiction=np.nextafter(p, 1))[0].verdict == "no evidence"
    (found,) = ground({}, "One.", ["p"], said)
    assert (found.verdict, found.contradiction, found.thresholds) == ("no evidence", None, {"supported": 0.5})


def test_families_without_a_contradiction_say_so():
    with pytest.raises(LabelError, match="it knows entailment only"):
        Grounding(ToyScorer(), split, threshold=0.5, contradiction=0.5)("One.", ["p"])


def test_numbers_and_quotes_go_before_the_model():
    said = {("It was 6.", "It was 5."): 9.0}
    (found,) = ground(said, "It was 5.", ["It was 6.", "s"])
    assert (found.verdict, found.missing, found.citations) == ("no evidence", ("5",), ())
    assert found.probability == pytest.approx(logistic(9.0))
    assert ground(said, "It was 5.", ["It was 6.", "s"], literals=False)[0].supported


def test_another_passage_that_holds_the_number_does_not_make_up_for_it():
    (found,) = ground({("It was 6.", "It was 5."): 9.0}, "It was 5.", ["It was 6.", "5 apples."])
    assert (found.verdict, found.missing) == ("no evidence", ())
    assert found.probability < 0.01  # that of what holds the number


def test_missing_is_what_even_the_nearest_text_lacks():
    (found,) = ground({}, "From 1 to 2 and 3.", ["1 and 2", "3", "1"])
    assert found.missing == ("3",)


# --------------------------------------------------------------------------------------- citations


def cited(found, passages):
    return [[(c.passage, passages[c.passage][slice(*c.span)]) for c in one.citations] for one in found]


def test_a_citation_is_the_sentence_that_supports():
    some = ["Far. Near it. Far.", "Near it."]
    said = {(some[0], "X."): 5.0, ("Near it.", "X."): 2.0}
    assert cited(ground(said, "X.", some), some) == [[(0, "Near it."), (1, "Near it.")]]


def test_a_passage_is_cited_whole_if_no_sentence_of_it_is_enough():
    some = ["Far. Near.", "Near. Far."]
    said = {(some[0], "X."): 1.0, (some[1], "X."): 2.0}
    assert cited(ground(said, "X.", some), some) == [[(1, some[1]), (0, some[0])]]


def test_without_sentences_the_window_that_gave_the_score_is_cited():
    class Windowed(Says):
        def one(self, texts, labels):
            found = super().one(texts, labels)
            return replace(found, spans=found.spans + np.array([[[1, -1]]], np.int32) * (found.spans[..., 1:] > 4))

    check = Grounding(Windowed({("A b. C d.", "X."): 1.0}), split, threshold=0.5, cite="windows")
    (found,) = check("X.", ["A b. C d."])
    assert found.citations[0].span == (1, 8)
    assert [a.texts for a in check.ask("X.", ["A b. C d."])] == [["A b. C d."], ["X."]]


def test_a_pair_supports_what_neither_passage_does_and_cites_both():
    some = ["He is Bo.", "Bo is 5.", "s"]
    said = {("He is Bo.\nBo is 5.", "He is 5."): 3.0}
    assert not ground(said, "He is 5.", some)[0].supported
    (found,) = ground(said, "He is 5.", some, pairs=2)
    assert [(c.passage, c.span, c.joined) for c in found.citations] == [(0, (0, 9), 1), (1, (0, 8), 0)]


def test_a_pair_is_not_cited_where_one_of_it_is_enough():
    said = {("p", "X."): 1.0, ("p\nq", "X."): 9.0, ("q\nr", "X."): 2.0}
    (found,) = ground(said, "X.", ["p", "q", "r"], pairs=3)
    assert [(c.passage, c.joined) for c in found.citations] == [(1, 2), (2, 1), (0, None)]


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_window_of_a_pair_is_mapped_to_its_passages(start, end):
    class Windowed(Says):
        def one(self, texts, labels):
            found = super().one(texts, labels)
            spans = [[[min(start, len(t)), min(max(start, end), len(t))]] * len(labels) for t in texts]
            return replace(found, spans=np.array(spans, np.int32))

    some = ["abcd", "efgh"]
    check = Grounding(Windowed({("abcd\nefgh", "X."): 1.0}), split, threshold=0.5, pairs=2)
    (found,) = check("X.", some)
    parts = [some[c.passage][slice(*c.span)] for c in found.citations]
    assert "".join(parts) == "abcd\nefgh"[start : max(start, end)].replace("\n", "")
    assert all(parts)
    assert [c.joined for c in found.citations] == [None if len(parts) == 1 else 1 - c.passage for c in found.citations]


def test_only_the_first_passages_are_joined_and_blank_ones_never():
    check = Grounding(Says(), split, threshold=0.5, pairs=3, cite="windows")
    assert check.ask("X.", ["a", " ", "b", "c"])[0].texts == ["a", " ", "b", "c", "a\nb"]
    assert check.ask("X.", ["a"])[0].texts == ["a"]


# ------------------------------------------------------------------------------------ fails closed


def test_without_a_threshold_nothing_is_decided():
    check = Grounding(Says(), split)
    for act in (lambda: check("X.", ["p"]), lambda: check.ask("X.", []), lambda: check.decide([], "", [])):
        with pytest.raises(ValueError, match=r"no threshold; pass Grounding\(…, threshold=…\)"):
            act()


def test_a_scorer_may_bring_thresholds():
    check = Grounding(Says(thresholds={"entailment": 0.3, "contradiction": 0.7}), split)
    assert check("X.", ["p"])[0].thresholds == {"supported": 0.3, "contradicted": 0.7}
    assert Grounding(check.scorer, split, threshold=0.4).threshold == 0.4


@pytest.mark.parametrize("name", ["threshold", "contradiction", "unreadable"])
@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, "0.5", True])
def test_thresholds_are_probabilities(name, value):
    with pytest.raises(ValueError, match=rf"{name} is .*; expected a probability"):
        Grounding(Says(), split, **{"threshold": 0.5, name: value})


@pytest.mark.parametrize(("name", "value"), [("cite", "words"), ("pairs", -1), ("pairs", 1.5), ("pairs", True)])
def test_other_settings_are_checked(name, value):
    with pytest.raises(ValueError, match=rf"{name} is {value!r}; expected"):
        Grounding(Says(), split, threshold=0.5, **{name: value})


def test_an_order_is_refused_with_the_way_out():
    with pytest.raises(NotCalibratedError, match=r"Calibration\.fit"):
        Grounding(ToyScorer("order"), split, threshold=0.5)("One.", ["p"])


@pytest.mark.parametrize("answer", ["", " \n", "...", "--- !"])
def test_an_answer_that_claims_nothing_has_no_claims(answer):
    scorer = Says()
    assert Grounding(scorer, split, threshold=0.5)(answer, ["p"]) == []
    assert scorer.calls == []


def test_without_passages_there_is_no_evidence_and_no_model():
    scorer = Says()
    found = Grounding(scorer, split, threshold=0.0, contradiction=0.0)("One. Two 2.", [])
    assert [(c.verdict, c.probability, c.contradiction, c.citations) for c in found] == [("no evidence", 0, 0, ())] * 2
    assert found[1].missing == ("2",)
    assert scorer.calls == []


@pytest.mark.parametrize("literals", [True, False])
def test_blank_passages_support_nothing_whatever_the_threshold(literals):
    (found,) = ground({("", "One."): 9.0, ("  ", "One."): 9.0}, "One.", ["", "  "], threshold=0, literals=literals)
    assert (found.verdict, found.probability) == ("no evidence", 0.0)


def test_what_cannot_be_read_supports_nothing_and_is_not_supported():
    said = {("p", "One."): 9.0, ("q", "Two."): 9.0}
    check = Grounding(Says(said, parts={"p": 0.6, "Two.": 0.6, "q": 0.5}), split, threshold=0.5)
    one, two = check("One. Two.", ["p", "q"])
    assert (one.verdict, two.verdict) == ("no evidence", "no evidence")
    assert (one.unknown, two.unknown) == (0.0, pytest.approx(0.6))
    assert all(c.supported for c in replace(check, unreadable=0.7)("One. Two.", ["p", "q"]))


# --------------------------------------------------------------------------------- plan and replay


def test_all_answers_make_one_plan():
    scorer = Says({("p", "One."): 1.0, ("q", "Two."): 1.0})
    check = Grounding(scorer, split, threshold=0.5, contradiction=0.5)
    many = check.many(["One. One.", "", "Two.", "Two."], [["p"], ["p"], [], ["q"]])
    assert [[c.verdict for c in found] for found in many] == [["supported"] * 2, [], ["no evidence"], ["supported"]]
    assert len(scorer.calls) == 1
    one, against = Label("One.", verbatim=True), Label("One.", verbatim=True, relation="contradiction")
    assert scorer.calls[0][:2] == [Ask(["p"], [one, against]), Ask(["One."], [one])]


def test_a_stored_answer_can_be_decided_anew():
    scorer = Says({("p", "One."): 1.0})
    check = Grounding(scorer, split, threshold=0.5)
    scores = judge(scorer, check.ask("One.", ["p"]))
    assert check.decide(scores, "One.", ["p"]) == check("One.", ["p"])
    assert replace(check, threshold=0.9).decide(scores, "One.", ["p"])[0].verdict == "no evidence"


@pytest.mark.parametrize(
    ("answer", "some"), [("One. Two.", ["p"]), ("One.", ["p", "q"]), ("One.", ["P. Q."]), ("", ["p"]), ("One.", [])]
)
def test_scores_of_something_else_are_refused(answer, some):
    scorer = Says()
    check = Grounding(scorer, split, threshold=0.5)
    scores = judge(scorer, check.ask("One.", ["p"]))
    with pytest.raises(ValueError, match=r"the scores have shapes .*; expected the scores of the same answer"):
        check.decide(scores, answer, some)


def test_claims_can_be_written_as_json_and_not_changed():
    found = ground({("p", "One 1."): 1.0}, "One 1. “Two.”", ["p", "1"], pairs=2, contradiction=0.5)
    assert json.loads(json.dumps(asdict(found[0])))["verdict"] == "no evidence"
    with pytest.raises(FrozenInstanceError):
        found[0].supported = True


def test_passages_may_be_anything_with_words_and_stay_as_they_are():
    some = [{"page": "p"}, {"page": "q"}]
    (found,) = ground({("q", "One."): 1.0}, "One.", some, text=lambda d: d["page"])
    assert found.citations[0].passage == 1
    assert some == [{"page": "p"}, {"page": "q"}]


@pytest.mark.parametrize(
    ("answer", "some", "said"),
    [
        (None, ["p"], "answer is NoneType; expected str"),
        (["One."], ["p"], "answer is list; expected str"),
        ("One.", "p", "passages is a str; expected a list"),
        ("One.", None, "passages is NoneType; expected a list"),
        ("One.", ["p", 3], r"passage 1 is int; expected str\. Pass text="),
        ("One.", [{"page": "p"}], "passage 0 is dict"),
    ],
)
def test_what_is_no_text_is_named(answer, some, said):
    with pytest.raises(TypeError, match=said):
        Grounding(Says(), split, threshold=0.5)(answer, some)


def test_as_many_answers_as_lists_of_passages():
    with pytest.raises(ValueError, match="1 answers and 2 lists of passages; expected as many"):
        Grounding(Says(), split, threshold=0.5).many(["One."], [["p"], ["q"]])


def test_a_wrong_splitter_is_named():
    with pytest.raises(TypeError, match=r"the splitter gave 'One\.' as sentence 0"):
        Grounding(Says(), lambda text: [text], threshold=0.5)("One.", ["p"])


def test_without_splitter_and_extra_it_says_what_helps(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(MissingExtraError, match=r'where you pass no splitter.*pip install "headgate\[sentences\]"$'):
        Grounding(Says(), threshold=0.5)


def test_without_a_splitter_sentences_are_found_by_the_extra():
    pytest.importorskip("sentencex")
    said = {("It is so, e.g. here.", "X."): 1.0}
    (found,) = Grounding(Says(said), threshold=0.5)("X.", ["No. It is so, e.g. here."])
    assert found.citations[0].span == (4, 24)


# --------------------------------------------------------------------------------------------- fit


@given(st.lists(st.tuples(st.floats(-8, 8, width=32), st.booleans()), min_size=2, max_size=30))
@example([(0.0, True), (-(2.0**-52), False)])  # half way between these is the upper one
@example([(0.0, True), (-(2.0**-80), False)])  # one probability
def test_fit_parts_them_as_well_as_any_threshold(rows):
    metrics = pytest.importorskip("sklearn.metrics")
    truths = [t for _, t in rows]
    if len(set(truths)) < 2:
        return
    z = [z for z, _ in rows]
    claims = [f"Claim {chr(65 + k)}." for k in range(len(rows))]
    scorer = Says({("p", c): v for c, v in zip(claims, z, strict=True)})
    check = Grounding(scorer, split).fit(claims, [["p"]] * len(rows), truths)
    told = [check(c, ["p"])[0].supported for c in claims]
    fpr, tpr, _ = metrics.roc_curve(truths, logistic(z))
    best = max((tpr + 1 - fpr)[1:] / 2)  # the first point supports nothing
    assert metrics.balanced_accuracy_score(truths, told) == pytest.approx(best, abs=1e-9)


def test_fit_counts_what_lacks_its_number_as_never_supported():
    said = {("p", "One."): 1.0, ("p", "Two."): -1.0, ("p", "Is 5."): 9.0, ("5", "No."): -3.0}
    claims = ["One.", "Two.", "Is 5.", "No.", "None."]
    some = [["p"], ["p"], ["p"], ["5"], []]
    check = Grounding(Says(said), split).fit(claims, some, [True, True, False, False, False])
    assert check.threshold == pytest.approx(logistic(-2.0))


@pytest.mark.parametrize("truths", [[True, True], [False, False]])
def test_fit_needs_both_kinds(truths):
    with pytest.raises(ValueError, match="every truth is the same"):
        Grounding(Says(), split).fit(["One.", "Two."], [["p"], ["p"]], truths)


def test_fit_needs_something_to_choose_by():
    with pytest.raises(ValueError, match="no claim has a passage that holds its numbers"):
        Grounding(Says(), split).fit(["1.", "Two."], [["p"], []], [True, False])


def test_fit_needs_as_many_of_each():
    with pytest.raises(ValueError, match="2 claims, 1 lists of passages and 2 truths"):
        Grounding(Says(), split).fit(["One.", "Two."], [["p"]], [True, False])


@pytest.mark.parametrize(
    ("claim", "truth"), [(None, True), (" ", True), (Label("One."), True), ("One.", "no"), ("One.", 0.5)]
)
def test_fit_names_the_row_that_is_wrong(claim, truth):
    with pytest.raises(TypeError, match=r"(claim|truth) 1 is .*; expected"):
        Grounding(Says(), split).fit(["Two.", claim], [["p"], ["p"]], [False, truth])
