"""The examples of this host run offline, stay short, and show what they are there to show."""

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("langchain_classic.retrievers")
EXAMPLES = Path(__file__).parents[3] / "examples"
SHOWN = {
    "replace_a_peer": (
        r"^FlashrankRerank -> HeadgateRetriever\n  0\.\d{3}  descaling\n  0\.\d{3}  \w+$",
        r"^  \['descaling', '\w+'\], each a probability$",
        r"^  passed: How do I get rid of limescale .*\n  blocked by injection:injection \(probability .*\)\.$",
        r"^  kept: \['descaling', 'kettle', 'lids'\]$",
        r"^  care +How do I .*\n  orders +where is my parcel\?\n  \(none\) +who won the cup\?$",
    ),
}
"""What each prints, as patterns of lines."""


@pytest.mark.parametrize("name", SHOWN)
def test_example_shows_what_it_is_there_to_show(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    for pattern in SHOWN[name]:
        assert re.search(pattern, said, re.MULTILINE), f"{pattern} in\n{said}"
