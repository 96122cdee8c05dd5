"""The examples of this host run offline, stay short, and show what they are there to show."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
NEEDS = {"decision_middleware": ("langchain_core.decisions", "langchain.agents.middleware.model_router")}
"""Modules that only the newest LangChain has."""
SHOWN = {
    "decision_middleware": (
        r"^team: billing \(0\.\d\d\), angry: 0\.\d\d\n"
        r"AutoMode: \(notes\.txt was read\)\nAutoMode: The tool call `delete_file` was blocked",
        r"^Prove .* -> large: Q\.E\.D\.\nhmm -> None: \(my own model\)$",
        r"^a person is asked: delete_file {'path': 'thesis\.tex'} .*\n.* was blocked: that is my thesis\.",
    ),
}
"""What each prints, as patterns of lines."""


@pytest.mark.parametrize("name", SHOWN)
def test_example_shows_what_it_is_there_to_show(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module)
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    for pattern in SHOWN[name]:
        assert re.search(pattern, said, re.MULTILINE), f"{pattern} in\n{said}"
