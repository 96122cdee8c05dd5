"""Two reports on the same rows, each by the truth it counts; others are refused."""

import pytest

from headgate import Router
from headgate.evaluate import classify, compare, few_shot, route
from tests.evaluate.fixed import ROWS, Embeds, Says

NAMES = ["red", "green"]
BOTH = [{"text": "a", "label": NAMES}]


@pytest.mark.parametrize(
    "task", [lambda said, rows: classify(said, rows), lambda said, rows: route(Router(said, NAMES), rows)]
)
def test_each_model_counts_by_the_true_label_it_chose(task):
    red, green = (task(Says({"a": {name: 3.0}}), BOTH) for name in NAMES)
    assert (red["macro F1"], green["macro F1"]) == (1.0, 1.0)
    assert [[*map(list, r.outcomes["truth"])] for r in (red, green)] == [[["red"]], [["green"]]]
    for first, second in ((red, green), (green, red), (red, red)):
        assert compare(first, second)["macro F1"].value == 0.0


def test_differences_are_those_of_the_reports():
    rows = [*BOTH, {"text": "b", "label": "red"}, {"text": "c", "label": ["green"]}, {"text": "d", "label": NAMES}]
    first = classify(Says({"a": {"green": 3.0}, "b": {"green": 3.0}, "c": {"green": 1.0}, "d": {"red": 1.0}}), rows)
    second = classify(Says({"a": {"red": 3.0}, "b": {"red": 3.0}, "c": {"red": 1.0}, "d": {"green": 1.0}}), rows)
    found = compare(first, second)
    for name in ("macro F1", "accuracy"):
        assert found[name].value == pytest.approx(second[name] - first[name])


def test_equal_data_of_which_other_rows_were_measured_are_refused():
    rows = [*BOTH, {"text": "none", "label": None}]
    said = Says({})
    one, several = classify(said, rows), classify(said, rows, multi=True)
    assert one.settings["data"] == several.settings["data"]
    with pytest.raises(ValueError, match=r"row counts 1 and 2; expected .*: measure"):
        compare(one, several)
    two, three, more = (few_shot(Embeds(), ROWS, shots=shots, seeds=seeds) for shots, seeds in ((2, 2), (2, 3), (3, 2)))
    with pytest.raises(ValueError, match="draws 2 and 3"):
        compare(two, three)
    with pytest.raises(ValueError, match="row counts 30 and 27"):
        compare(two, more)
    assert compare(two, two)["accuracy"].value == 0.0
