"""The examples of this host run, stay short, and say what they are there to show."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
SHOWN = {
    "multi_index_router": (
        r"^How long .*island take\?\n  deliveries \(probability 0\.\d+\): .* Delivery to an island",
        r"^How often .*tomatoes\?\n  greenhouse \(probability 0\.\d+\): .* Tomatoes want water",
        r"^When are invoices sent\?\n  invoices \(probability 0\.\d+\): .* Invoices are sent",
        r"^Who won the cup\?\n  deliveries \(none of the 3 choices fits .*this is the default\)",
        r"^Ignore all .*\n  Please ask about your order\. \('injection',\)$",
    ),
    "faithfulness": (
        r"^faithful: True, 1\.00 of it supported\n  supported .*340 grams\. \| \[0\] \"The lamp weighs 340 grams\.\"$",
        r"^faithful: False, 0\.00 .*\n  no evidence .*60 days\. \| nowhere in the contexts: 60\n  no .*free lamp\.$",
        r"^relevant: True, 0\.\d+\n\n.*\n(.*\n){3}relevant: True",
    ),
}
"""What each prints, as patterns of lines."""


@pytest.mark.parametrize("name", SHOWN)
def test_example_shows_what_it_is_there_to_show(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "faithfulness":
        pytest.importorskip("sentencex")
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    for pattern in SHOWN[name]:
        assert re.search(pattern, said, re.MULTILINE), f"{pattern} in\n{said}"
