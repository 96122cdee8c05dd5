"""The page: every plot and figure is on it, its tables sort, and no text breaks it."""

import json
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import headgate.evaluate
from headgate.evaluate import Figure, Plot, Report, Table, few_shot, read_report, write_html
from headgate.evaluate.command import show
from headgate.evaluate.history import loss_plot
from headgate.evaluate.html import page
from tests.evaluate.fixed import ROWS, Embeds

HISTORY = [{"loss": 2.0, "step": 10}, {"eval_loss": 1.5, "step": 10}, {"loss": 1.0, "step": 20}]
PLOTS = (
    Plot("differences", "Change <of> nDCG", "All & more gain.", {"change": [0.5, 0.0, -0.1]}),
    Plot("confusion", "Confusion", "One of two.", {"labels": ["re\ud83d", "blue"], "counts": [[1, 0], [1, 0]]}),
    Plot("risk_coverage", "Risk", "It rises.", {"coverage": [0.5, 1.0], "risk": [0.0, 0.5]}),
)
VALUES = Table("Values", ("name", "value"), (("b", 0.25), ("a10", None), ("a9", 1234), ("c", 1e-05), ("d", -0.5)))


def made(name="first", *, figures=("accuracy",), tables=(), plots=(), **more):
    return Report(
        task="classify",
        name=name,
        n=2,
        seconds=0.0,
        figures=tuple(Figure(f, 0.5, 2) for f in figures),
        notes=(),
        tables=tables,
        plots=plots,
        settings={"data": "same", **more},
        outcomes={"accuracy": [1.0, 0.0]},
    )


class Parts(HTMLParser):
    """The words for every image; every cell's attributes and words, row by row."""

    def __init__(self, html):
        super().__init__()
        self.images, self.rows, self.open = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if found.get("role") == "img":
            self.images.append((tag, found["aria-label"]))
        if tag == "tr":
            self.rows.append([])
        self.open = tag in ("td", "th")
        if self.open:
            self.rows[-1].append([found, ""])

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1][1] += data


def values():
    """The cells of VALUES on its page."""
    rows = Parts(page([made(tables=(VALUES,))])).rows
    at = next(i for i, row in enumerate(rows) if [words for _, words in row] == ["name", "value"])
    return rows[at + 1 : at + 1 + len(VALUES.rows)]


def test_every_plot_is_on_the_page_with_its_words():
    loss = loss_plot(HISTORY)
    for reports, history, plots in (
        ([made(plots=PLOTS)], None, PLOTS),
        ([made(plots=PLOTS), made("second", plots=PLOTS[:1])], HISTORY, [*PLOTS, PLOTS[0], loss]),
    ):
        html = page(reports, history=history)
        assert html.count("<svg") == len(plots)
        assert Parts(html).images == [("svg", f"{plot.title}. {plot.says}") for plot in plots]
        assert ("<h2>Training</h2>" in html) == (history is not None)


def test_numbers_carry_their_value_and_what_is_missing_sorts_below_them():
    cells = [row[1] for row in values()]
    assert [words for _, words in cells] == ["0.250", "—", "1,234", "1.0e-05", "-0.500"]
    numbers = [float(found["data-value"]) for found, _ in cells]
    assert [n for n, row in zip(numbers, VALUES.rows, strict=True) if row[1] is not None] == [0.25, 1234, 1e-05, -0.5]
    assert numbers[1] == min(numbers) < -1e9
    assert all("data-value" not in row[0][0] for row in values())


STUB = """
const body = { rows: CELLS.map((row) => ({ cells: row.map(([value, textContent]) => (
  { dataset: value === null ? {} : { value }, textContent })) })), append(...rows) { this.rows = rows; } };
const heads = CELLS[0].map((_, cellIndex) => ({ cellIndex, said: {}, on: {},
  closest: () => ({ tBodies: [body] }), getAttribute(name) { return this.said[name] ?? null; },
  setAttribute(name, value) { this.said[name] = value; }, removeAttribute(name) { delete this.said[name]; },
  addEventListener(name, call) { this.on[name] = call; } }));
for (const head of heads) head.parentNode = { children: heads };
globalThis.document = { documentElement: { classList: { add() {} } }, querySelectorAll: () => heads };
"""
CLICKS = """
console.log(JSON.stringify([1, 1, 0, 1].map((k) => { heads[k].on.click();
  return [heads.map((h) => h.said["aria-sort"] ?? ""), body.rows.map((row) => row.cells[0].textContent)]; })));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_a_click_sorts_numbers_by_value_and_words_by_the_alphabet():
    (path,) = headgate.evaluate.__path__
    with open(f"{path}/page.js", encoding="utf-8") as file:
        script = file.read()
    cells = json.dumps([[[found.get("data-value"), words] for found, words in row] for row in values()])
    run = subprocess.run(
        [shutil.which("node"), "-"], input=f"const CELLS = {cells};{STUB}{script}{CLICKS}", encoding="utf-8",
        capture_output=True, check=True,
    )  # fmt: skip
    up = ["a10", "d", "c", "b", "a9"]
    assert json.loads(run.stdout) == [
        [["", "ascending"], up],
        [["", "descending"], up[::-1]],
        [["ascending", ""], ["a9", "a10", "b", "c", "d"]],
        [["", "ascending"], up],
    ]


def test_half_a_surrogate_pair_is_kept_in_json_and_shown_on_the_page(tmp_path):
    texts = Table("Worst", ("row", "text"), (("row 1", 'a "\ud83d" b'),), texts=True)
    report = made("na\ud83dme", tables=(texts,), plots=PLOTS[1:2])
    report.save(tmp_path / "report.json")
    again = read_report(tmp_path / "report.json")
    assert (again.name, again.tables) == (report.name, report.tables)
    report.html(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "na?me" in html
    assert html.endswith("</html>\n")


def test_every_figure_of_each_stands_side_by_side(monkeypatch, capsys):
    reports = [made("one", figures=("accuracy", "AURC")), made("two", figures=("accuracy", "Brier score"))]
    rows = [[words for _, words in row] for row in Parts(page(reports)).rows]
    at = rows.index(["figure", "one", "two"])
    assert rows[at + 1 : at + 4] == [
        ["accuracy", "0.500", "0.500"], ["AURC", "0.500", "—"], ["Brier score", "—", "0.500"],
    ]  # fmt: skip
    monkeypatch.setenv("COLUMNS", "120")
    show(reports)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert said[1:] == [["accuracy", "0.500", "0.500"], ["AURC", "0.500", "-"], ["Brier", "score", "-", "0.500"]]


def test_few_shot_reports_stand_together_only_where_the_same_rows_are_tested(tmp_path):
    one, eight, again = (
        replace(few_shot(Embeds(), ROWS, shots=shots, seeds=2, name=name), plots=())
        for shots, name in ((1, "one"), (8, "eight"), (1, "again"))
    )
    write_html([one, eight, again], tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.count("side by side") == 1
    assert "again - one" in html
    assert "eight - one" not in html


def test_speed_is_of_all_texts_read():
    report = replace(few_shot(Embeds(), ROWS, shots=2, seeds=2), seconds=2.0, plots=())
    assert report.n == 30
    assert "30 texts; 18 texts a second" in page([report])
    assert "2 texts; 4 texts a second" in page([replace(made(), seconds=0.5)])
