"""Reports: written and read again, compared, and shown on a page that nothing hostile gets out of."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from headgate import Router
from headgate.errors import DataError, MissingExtraError
from headgate.evaluate import Plot, classify, compare, read_report, route, write_html
from headgate.evaluate import metrics as measured
from headgate.evaluate.history import loss_plot
from headgate.evaluate.html import page
from headgate.evaluate.plots import svg
from tests.evaluate.fixed import ROWS, Says

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$x^2$ & co"]
HISTORY = [{"loss": 2.0, "step": 10}, {"eval_loss": 1.5, "step": 10}, {"loss": 1.0, "step": 20}, {"train_runtime": 3}]


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    said = {r["text"]: {n: float(rng.normal() + 2 * (n == r["label"])) for n in ("red", "green", "blue")} for r in ROWS}
    return classify(Says(said), ROWS, name="first")


@pytest.fixture(scope="module")
def hostile():
    rows = [{"text": f"{HOSTILE[0]} {i}", "label": HOSTILE[i % 3]} for i in range(6)] + [{"text": "x", "label": None}]
    said = {r["text"]: {name: float(i - j) for j, name in enumerate(HOSTILE)} for i, r in enumerate(rows)}
    return route(Router(Says(said), HOSTILE), rows, name=HOSTILE[1])


def bare(reports, **how):
    """The page without its plots, which take most of the time."""
    return page([replace(report, plots=()) for report in reports], **how)


class Tags(HTMLParser):
    """Every tag with its attributes, and every id."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words += data


def test_json_comes_back_as_it_was(report, hostile, tmp_path):
    for each in (report, hostile):
        each.save(tmp_path / "report.json")
        again = read_report(tmp_path / "report.json")
        again.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "report.json").read_bytes()
        assert bare([again]) == bare([each])
        assert again.figures == each.figures
        assert again.tables == each.tables
    (tmp_path / "other.json").write_text('{"figures": []}')
    with pytest.raises(DataError, match="no report"):
        read_report(tmp_path / "other.json")
    with pytest.raises(KeyError, match="macro F1"):
        report["F1"]


def test_the_page_needs_nothing_else(report, hostile, tmp_path):
    write_html([report, hostile], tmp_path / "report.html", history=HISTORY)
    html = (tmp_path / "report.html").read_text("utf-8")
    found = Tags(html)
    assert not {"link", "img", "iframe", "object"} & set(found.tags)
    links = [v for k, v in found.attributes if k in ("src", "href", "xlink:href")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "@import" not in html
    assert "<dc:date>" not in html
    assert not re.search(r"url\((?!#)", html)
    ids = [
        v for k, v in found.attributes if k == "id" and not re.fullmatch(r"[mphC]\w+", v)
    ]  # matplotlib's, by content
    assert len(ids) == len(set(ids))


def test_labels_names_and_texts_can_not_leave_their_place(hostile):
    found = Tags(page([hostile]))
    assert found.tags.count("script") == 1
    assert "img" not in found.tags
    assert not [k for k, _ in found.attributes if k.startswith("on")]
    for words in HOSTILE:
        assert words in found.words


def test_texts_can_be_left_out(report):
    wrong = next(t for t in report.tables if t.texts).rows[0][1]
    assert wrong in bare([report])
    assert wrong not in bare([report], texts=False)
    assert not [t for t in report.without_texts().tables if t.texts]


def test_every_plot_is_one_image_with_words_for_it(report, hostile):
    plots = [*report.plots, *hostile.plots, loss_plot(HISTORY)]
    plots.append(Plot("differences", "Change", "All gain.", {"change": [0.5, 0.0, -0.1]}))
    assert {p.kind for p in plots} == {"confusion", "reliability", "roc", "risk_coverage", "differences", "loss"}
    for plot in plots:
        drawn = svg(plot)
        root = ElementTree.fromstring(drawn)
        assert root.attrib["role"] == "img"
        assert plot.title in root.attrib["aria-label"]
        assert plot.says in root.attrib["aria-label"]
        assert "currentColor" in drawn
        assert "#010203" not in drawn
        assert svg(plot) == drawn
    many = {"labels": [str(i) for i in range(31)], "counts": np.eye(31, dtype=int).tolist()}
    assert svg(Plot("confusion", "Too many", "", many)) is None


def test_labels_templates_and_notes_are_on_the_page(report):
    words = Tags(bare([report])).words
    for expected in (
        "It is about red.",
        "It is about {}.",
        "Only 36 rows",
        "macro F1",
        "says",
        report.settings["data"],
    ):
        assert expected in words


def test_losses_come_from_a_trainer(tmp_path):
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"log_history": HISTORY, "global_step": 20}))
    plot = loss_plot(state)
    assert plot.data == {"training": {"step": [10, 20], "loss": [2, 1]}, "held out": {"step": [10], "loss": [1.5]}}
    assert loss_plot(HISTORY) == plot
    assert "from 2.000 to 1.000" in plot.says
    for wrong in ('{"log_history": 3}', "{", "[1]"):
        state.write_text(wrong)
        with pytest.raises(DataError, match="trainer_state"):
            loss_plot(state)
    with pytest.raises(DataError, match="no entry"):
        loss_plot([{"step": 3}])


def test_models_are_compared_row_by_row(report):
    sure = Says({r["text"]: {r["label"]: 3.0} for r in ROWS})
    perfect = classify(sure, ROWS, name="second")
    found = compare(report, perfect)
    assert found["accuracy"].value == pytest.approx(1 - report["accuracy"])
    assert found["macro F1"].value == pytest.approx(1 - report["macro F1"])
    assert found["accuracy"].p < 0.05
    same = compare(report, replace(report, name="again"))
    assert (same["accuracy"].value, same["accuracy"].p) == (0.0, 1.0)
    words = Tags(bare([report, perfect])).words
    assert "side by side" in words
    assert "second - first" in words
    other = classify(sure, ROWS[:-1], labels=["red", "green", "blue"])
    with pytest.raises(ValueError, match="of the rows"):
        compare(report, other)
    assert "side by side" not in Tags(bare([report, other])).words
    with pytest.raises(ValueError, match="at least one"):
        bare([])


def test_a_missing_extra_says_how_to_get_it(report, monkeypatch):
    def without(name):
        raise ImportError(name)

    monkeypatch.setattr(measured, "import_module", without)
    with pytest.raises(
        MissingExtraError, match=r'matplotlib is not installed; run: pip install "headgate\[evaluate\]"'
    ):
        page([report])
    with pytest.raises(MissingExtraError, match="scikit-learn"):
        measured.average_precision([True, False], [1.0, 0.0])
