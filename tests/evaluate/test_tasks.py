"""Each task on rows small enough to be counted by hand, and beside scikit-learn and ir_measures."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, nDCG
from sklearn import metrics as reference

from headgate import Guard, Label, Reranker, Router, Rule
from headgate.errors import DataError, NotCalibratedError
from headgate.evaluate import classify, guard, pairs, rerank, route
from headgate.evaluate.reranking import measure
from headgate.testing import ToyScorer
from tests.evaluate.fixed import ROWS, Says


def draws(seed=0, spread=2.0):
    """A scorer that is right more often than not about ROWS."""
    rng = np.random.default_rng(seed)
    names = ("red", "green", "blue")
    table = {r["text"]: {n: float(rng.normal() * spread + 2 * (n == r["label"])) for n in names} for r in ROWS}
    return Says(table)


def table(report, title):
    (found,) = [t for t in report.tables if t.title == title]
    return found


def best(scorer, row):
    return max(("blue", "green", "red"), key=lambda n: scorer.table[row["text"]][n])


def test_classify_is_scikit_learn_on_the_choices():
    scorer = draws()
    report = classify(scorer, ROWS)
    truth, said = [r["label"] for r in ROWS], [best(scorer, r) for r in ROWS]
    assert report.figures[0].name == "macro F1"
    assert report["macro F1"] == pytest.approx(reference.f1_score(truth, said, average="macro"))
    assert report["accuracy"] == pytest.approx(reference.accuracy_score(truth, said))
    plot = next(p for p in report.plots if p.kind == "confusion")
    assert plot.data["counts"] == reference.confusion_matrix(truth, said, labels=plot.data["labels"]).tolist()
    p = [1 / (1 + np.exp(-scorer.table[r["text"]][s])) for r, s in zip(ROWS, said, strict=True)]
    right = [t == s for t, s in zip(truth, said, strict=True)]
    assert report["Brier score"] == pytest.approx(reference.brier_score_loss(right, p), abs=1e-5)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(truth, said, labels=["blue", "green", "red"])
    rows = table(report, "By label").rows
    assert [r[3:] for r in rows] == [pytest.approx(each) for each in zip(precision, recall, f1, strict=True)]
    wrong = table(report, "Worst errors")
    assert wrong.texts
    assert len(wrong.rows) == min(20, right.count(False))
    assert [r[4] for r in wrong.rows] == sorted((r[4] for r in wrong.rows), reverse=True)


def test_labels_are_printed_as_the_model_reads_them():
    given = {"red": "a red thing", "green": Label("It is green.", verbatim=True), "blue": "a blue thing"}
    report = classify(Says({}), ROWS, labels=given)
    read = {row[0]: row[1] for row in table(report, "Labels as the model reads them").rows}
    assert read == {"red": "It is about a red thing.", "green": "It is green.", "blue": "It is about a blue thing."}
    assert report.settings["template"] == "It is about {}."


def test_rows_with_several_labels_or_none():
    scorer = Says({"a": {"red": 3.0}, "b": {"red": 3.0}, "c": {"blue": 1.0}})
    rows = [
        {"text": "a", "label": ["green", "red"]},
        {"text": "b", "label": ["green", "blue"]},
        {"text": "c", "label": None},
    ]
    report = classify(scorer, rows, labels=["red", "green", "blue"])
    assert (report.n, report["accuracy"]) == (2, 0.5)
    assert any("1 rows whose label is null" in note for note in report.notes)
    several = classify(scorer, rows, labels=["red", "green", "blue"], multi=True)
    assert (several.n, several["exact match"]) == (3, 0.0)
    truth, said = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]]), np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]])
    for average in ("micro", "macro"):
        expected = reference.f1_score(truth, said, average=average, zero_division=0)
        assert several[f"{average} F1"] == pytest.approx(expected)
    assert classify(scorer, [{"text": "a", "label": "red"}] * 2, labels=["red"], multi=True)["exact match"] == 1.0


def test_an_order_has_figures_and_no_calibration():
    scorer = draws()
    scorer.meaning = "order"
    report = classify(scorer, ROWS)
    assert report["accuracy"] == classify(draws(), ROWS)["accuracy"]
    assert not any("ECE" in f.name for f in report.figures)
    assert any("only an order" in note for note in report.notes)
    with pytest.raises(NotCalibratedError):
        classify(scorer, ROWS, multi=True)


@pytest.mark.parametrize(
    ("task", "rows", "says"),
    [
        (classify, [{"text": "a", "label": "red"}, {"text": " ", "label": "red"}], "row 2"),
        (lambda s, r: classify(s, r, labels=["red"]), [{"text": "a", "label": "rde"}], "row 1.*'rde'"),
        (classify, [{"text": "a", "label": None}], "no row has a label"),
        (lambda s, r: route(Router(s, ["red"]), r), [{"text": "a", "label": "x"}], "row 1.*or null"),
        (lambda s, r: guard(Guard(s, ["red"], 0.5), r), [{"text": "a", "label": "red"}], "0 rows are safe"),
        (
            lambda s, r: guard(Guard(s, ["red"], 0.5), r),
            [{"text": "a", "label": None}, {"text": "b", "label": "red", "lookalike": True}],
            "row 2: lookalike",
        ),
        (
            lambda s, r: guard(Guard(s, ["red"], 0.5), [{"text": "c", "label": ["red"]}, *r[:1]], lookalikes=r),
            [{"text": "a", "label": None}, {"text": "b", "label": "red"}],
            "look-alikes, row 2: .*'red'.*its label is null",
        ),
        (lambda s, r: rerank(Reranker(s), r), [{"query": "q", "documents": []}], "row 1.*at least one document"),
        (
            lambda s, r: rerank(Reranker(s), r),
            [{"query": "q", "documents": [{"text": "a", "relevance": 1}, {"text": "b"}]}],
            "row 1, document 2: relevance is None",
        ),
        (pairs, [{"premise": "a", "hypothesis": "b", "label": "entails"}], "row 1: the class is 'entails'"),
    ],
)
def test_wrong_data_is_refused_with_its_row_before_any_scoring(task, rows, says):
    scorer = Says({})
    with pytest.raises(DataError, match=says):
        task(scorer, rows)
    assert scorer.calls == 0


def test_route_by_hand():
    scorer = Says({
        "r1": {"red": 2.0}, "r2": {"red": 1.0, "blue": 3.0}, "r3": {"red": -1.0},
        "b1": {"blue": 4.0}, "o1": {"red": -3.0}, "o2": {"blue": 0.5},
    })  # fmt: skip
    rows = [{"text": t, "label": "red"} for t in ("r1", "r2", "r3")] + [{"text": "b1", "label": "blue"}]
    rows += [{"text": t, "label": None} for t in ("o1", "o2")]
    report = route(Router(scorer, ["red", "blue"]), rows)
    assert report["in-scope accuracy"] == 0.5  # r1 and b1; r2 goes astray, r3 is declined
    assert report["out-of-scope recall"] == 0.5
    assert report["right decisions"] == 0.5
    assert report["in-scope kept (not declined)"] == 0.75
    assert report["in-scope accuracy of the best route, none declined"] == 0.75
    top = [2.0, 3.0, -1.0, 4.0, -3.0, 0.5]
    auroc = reference.roc_auc_score([1, 1, 1, 1, 0, 0], top)
    assert report["AUROC, in scope against out"] == pytest.approx(auroc)
    assert report["out-of-scope recall at 95% in-scope retention"] == 0.5
    odds = np.exp(np.array([2.0, 3.0, 4.0, 0.5]))
    other = np.exp([-5.0, 1.0, -5.0, -5.0])
    assert ((odds / (1 + odds + other)) > 0.8).tolist() == [True, True, True, False]
    gates = {row[0]: row[1:3] for row in table(report, "Wrong answers that survive a gate").rows}
    assert gates[0.8] == (3, 1)  # r2 is wrong and sure
    assert any("2 rows out of scope" in note for note in report.notes)
    assert report["in-scope accuracy"] == report.figures[0].value
    other = table(report, "What other thresholds would do").rows
    for threshold, accuracy, recall, right in (other[0], other[-1]):
        again = route(Router(scorer, ["red", "blue"], threshold=threshold), rows)
        found = (again["in-scope accuracy"], again["out-of-scope recall"], again["right decisions"])
        assert found == pytest.approx((accuracy, recall, right))


def test_route_with_one_kind_of_row_says_what_is_unknown():
    scorer = Says({"a": {"red": 2.0}})
    report = route(Router(scorer, ["red"]), [{"text": "a", "label": "red"}])
    assert not any("out-of-scope" in f.name for f in report.figures)
    assert any("No row is out of scope" in note for note in report.notes)
    report = route(Router(scorer, ["red"]), [{"text": "b", "label": None}])
    assert report["out-of-scope recall"] == 1.0
    assert any("No row is in scope" in note for note in report.notes)


def test_route_multi_asks_for_exactly_the_true_routes():
    scorer = Says({"a": {"red": 2.0, "blue": 1.0}, "b": {"red": 2.0, "blue": 1.0}})
    rows = [{"text": "a", "label": ["blue", "red"]}, {"text": "b", "label": "red"}]
    report = route(Router(scorer, ["red", "blue"], multi=True), rows)
    assert report["right decisions"] == 0.5
    expected = reference.f1_score([[1, 1], [1, 0]], [[1, 1], [1, 1]], average="macro")
    assert report["macro F1"] == pytest.approx(expected)


def guarded():
    rng = np.random.default_rng(0)
    rows = [{"text": f"u{i}", "label": "bad"} for i in range(40)] + [
        {"text": f"w{i}", "label": "worse"} for i in range(9)
    ]
    rows += [{"text": f"s{i}", "label": None} for i in range(200)]
    rows += [{"text": f"l{i}", "label": [], "lookalike": True} for i in range(8)]
    means = {"u": 3.0, "w": -2.0, "s": -2.0, "l": 1.0}
    said = {r["text"]: {"bad": float(rng.normal() + means[r["text"][0]]), "worse": -4.0} for r in rows}
    return said, rows


def test_guard_at_one_percent_and_on_lookalikes():
    said, rows = guarded()
    judged = Guard(Says(said), {"bad": Rule("bad", 0.6), "worse": Rule("worse", 0.5)})
    report = guard(judged, rows)
    z = {kind: np.array([said[r["text"]]["bad"] for r in rows if r["text"][0] == kind]) for kind in "uwsl"}
    threshold = np.sort(z["s"])[::-1][2]  # 2 of 200 may fire
    assert report["bad: recall at 1 % false positives"] == pytest.approx((z["u"] > threshold).mean())
    fires = np.log(0.6 / 0.4)
    assert report["bad: recall at its threshold"] == pytest.approx((z["u"] >= fires).mean())
    assert report["bad: false positives at its threshold"] == pytest.approx((z["s"] >= fires).mean())
    assert report["bad: false positives on look-alikes"] == pytest.approx((z["l"] >= fires).mean())
    expected = reference.roc_auc_score([1] * 40 + [0] * 200, np.r_[z["u"], z["s"]])
    assert report["bad: AUROC"] == pytest.approx(expected)
    assert report["worse: recall at its threshold"] == 0.0
    blocked = np.r_[z["u"], z["w"]] >= fires
    assert report["any rule: recall at its threshold"] == pytest.approx(blocked.mean())
    rows_of = {(r[0], r[1]): r for r in table(report, "Thresholds").rows}
    assert rows_of["bad", "1 % false positives"][5] == 2
    assert {t.title for t in report.tables if t.texts} == {"False alarms", "Misses"}
    assert any("Only 8 look-alikes" in note for note in report.notes)


def test_guard_takes_lookalikes_of_their_own_and_misses_them_aloud():
    said, rows = guarded()
    plain = [r for r in rows if r["text"][0] in "us"]
    judged = Guard(Says(said), ["bad"], threshold=0.6)
    without = guard(judged, plain)
    assert any("no harmless look-alikes" in note for note in without.notes)
    assert not any("look-alikes" in f.name for f in without.figures)
    report = guard(judged, plain, lookalikes=[{"text": r["text"]} for r in rows if r["text"][0] == "l"])
    z = np.array([said[r["text"]]["bad"] for r in rows if r["text"][0] == "l"])
    assert report["bad: false positives on look-alikes"] == pytest.approx((z >= np.log(1.5)).mean())
    assert report["bad: recall at 1 % false positives"] == without["bad: recall at 1 % false positives"]


def asked():
    rng = np.random.default_rng(0)
    rows, said = [], {}
    for q in range(9):
        relevance = [int(r) for r in rng.integers(0, 3, 12)] if q else [0] * 12
        documents = [{"text": f"q{q} d{d}", "relevance": r} for d, r in enumerate(relevance)]
        said.update({d["text"]: {f"query {q}": float(rng.normal() + d["relevance"])} for d in documents})
        rows.append({"query": f"query {q}", "documents": documents})
    return rows, said


def test_what_the_first_stage_missed_belongs_to_the_ideal_order():
    documents = [{"text": "a", "relevance": 0}, {"text": "b", "relevance": 2}]
    rows = [{"query": "q", "documents": documents, "missed": [3, 1]}]
    report = rerank(Reranker(Says({"a": {"q": 0.0}, "b": {"q": 1.0}})), rows)
    truth = {"q": {"a": 0, "b": 2, "c": 3, "d": 1}}
    expected = ir_measures.calc_aggregate([nDCG @ 10, AP @ 10], truth, {"q": {"b": 2.0, "a": 1.0}})
    assert report["nDCG@10"] == pytest.approx(expected[nDCG @ 10])
    assert report["MAP@10"] == pytest.approx(expected[AP @ 10])
    with pytest.raises(DataError, match="row 1: 'missed' is \\[0\\]"):
        rerank(Reranker(Says({})), [{**rows[0], "missed": [0]}])


def test_rerank_is_ir_measures():
    rows, said = asked()
    report = rerank(Reranker(Says(said)), rows)
    qrels = {r["query"]: {d["text"]: d["relevance"] for d in r["documents"]} for r in rows}
    run = {r["query"]: {d["text"]: said[d["text"]][r["query"]] for d in r["documents"]} for r in rows}
    first = {r["query"]: {d["text"]: -float(i) for i, d in enumerate(r["documents"])} for r in rows}
    for name, m in (("nDCG@10", nDCG @ 10), ("MRR@10", RR @ 10), ("MAP@10", AP @ 10)):
        after = ir_measures.calc_aggregate([m], qrels, run)[m]
        before = ir_measures.calc_aggregate([m], qrels, first)[m]
        assert report[name] == pytest.approx(after)
        assert report[f"{name} (first stage)"] == pytest.approx(before)
        assert report[f"{name} (gain)"] == pytest.approx(after - before)
    assert any("1 queries have no relevant document" in note for note in report.notes)
    gains = [row[4] for row in table(report, "Biggest gains").rows]
    assert gains == sorted(gains, reverse=True)
    assert all(gain > 0 for gain in gains)
    assert len(report.outcomes["nDCG@10"]) == 9


@pytest.mark.parametrize(("up", "gain", "p"), [(1.0, 1 - 1 / np.log2(3), "0.001"), (-1.0, 0.0, "1.000")])
def test_a_gain_that_every_query_shares_is_certain(up, gain, p):
    rows = [{"query": "q", "documents": [{"text": "a", "relevance": 0}, {"text": "b", "relevance": 1}]}] * 7
    report = rerank(Reranker(Says({"a": {"q": 0.0}, "b": {"q": up}}, meaning="order")), rows)
    figure = next(f for f in report.figures if f.name == "nDCG@10 (gain)")
    assert (figure.value, figure.low, figure.high) == pytest.approx((gain, gain, gain), abs=1e-12)
    assert figure.how == f"paired bootstrap, p = {p}"


def test_the_order_alone_counts_and_what_is_cut_is_not_found():
    assert measure([[1, 0, 2]], [[2, 0, 1]])["nDCG@10"] == pytest.approx([1.0])
    assert measure([[0, 1]], [[0, 1]])["MRR@10"] == pytest.approx([0.5])
    assert measure([[0, 1]], [[0]])["MRR@10"] == pytest.approx([0.0])
    assert measure([[0, 0]], [[0, 1]])["nDCG@10"] == pytest.approx([0.0])


def test_texts_that_a_certificate_was_made_on_are_told():
    texts = [f"{word} {i}" for i in range(40) for word in ("red", "green", "grey")]
    rows = [{"text": t, "label": None if "grey" in t else t.split()[0]} for t in texts]
    fitted = Router(ToyScorer(), ["red", "green"]).fit(texts, [r["label"] for r in rows], max_error=0.3)
    with pytest.warns(UserWarning, match="30 of 60 texts, the first at 30, are among those that the certificate"):
        route(fitted, [{"text": f"green one {i}", "label": "green"} for i in range(30)] + rows[:30])
    route(fitted, [{"text": f"green one {i}", "label": "green"} for i in range(30)])  # without a word
    judged = Guard(ToyScorer(), ["red", "green"], 0.5)
    held = judged.fit(texts, [r["label"] for r in rows], max_false_positive_rate=0.3)
    with pytest.warns(UserWarning, match="120 of 120 texts"):
        guard(held, rows)
    guard(held, [{"text": f"{w} one {i}", "label": w if w == "red" else None} for i in range(9) for w in ("red", "x")])
