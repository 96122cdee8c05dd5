"""The examples of this host run offline, stay short, and show what they are there to show."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
SHOWN = {
    "agent_tool_guard": (
        r"^success +read_page +We are open",
        r"^error +read_page +The result of this call was withheld: it breaks a rule\.$",
        r"^success +run_sql +done: SELECT",
        r"^error +run_sql +This call was refused: it breaks a rule\. .*\n.*'deleting data': 0\.[6-9]",
    ),
    "five_hundred_tools": (
        r"^500 tools\nCan you print that contract for me\?\n  the model sees (\w+, ){4}\w+$",
        r"^  the model sees .*\bprint_contract\b",
        r"^  the model sees .*\btranslate_menu\b",
        r"^  the model sees .*\bcount_song\b",
        r"^  it calls delete_database: delete_database is not available here",
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
