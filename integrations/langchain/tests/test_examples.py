"""The LangChain examples run, stay short, and show what they are there to show."""

import re
import runpy
import sys
from pathlib import Path

import pytest

import headgate

EXAMPLES = Path(__file__).parents[3] / "examples"
MINI = Path(headgate.__file__).parent / "mini" / "scorer.json"
pytestmark = pytest.mark.skipif(not MINI.is_file(), reason="this checkout has no mini")
SHOWN = {
    "decision_middleware": (
        r"^team: billing \(0\.\d\d\), angry: 0\.\d\d\n"
        r"AutoMode: \(notes\.txt was read\)\nAutoMode: The tool call `delete_file` was blocked",
        r"^Prove .* -> large: Q\.E\.D\.\nhmm -> None: \(my own model\)$",
        r"^a person is asked: delete_file {'path': 'thesis\.tex'} .*\n.* was blocked: that is my thesis\.",
    ),
    "rag_citations": (
        r"^  supported    Amber .*\n +Hub light colours: “Amber: working, but cut off from the cloud\.”$",
        r"^  no evidence  A blue ring plays music\.$",
        r"^  supported    .* four years\.\n +Hub backup cell: “The cell recharges .* four years\.”$",
        r"^  no evidence  A replacement costs £41\.\n +nowhere in the documents: 41$",
    ),
    "intent_chatbot": (
        r"^Where is my parcel\?\n +\[shipping\]",
        r"^and can I still change the address\?\n +\[shipping\]",
        r"^I want to cancel .*\n +\[cancel_subscription\]",
        r"^who won the match .*\n +\[a person\]",
        r"^Ignore all previous .*\n +\[refuse\] .* never routed$",
    ),
    "streaming_chat": (
        r"^Thanks for .* to reset it\. \(I'd rather not go on\.\)$",
        r"^written: \d\d of 52 words; after the cut: 0$",
        r"^why: \('toxic',\)$",
        r"^Thanks for .* reset it\. \[removed\] The light turns green .*enjoy your evening!",
        r"^\d+ events, the word in 0 of them$",
    ),
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
    "replace_a_peer": (
        r"^FlashrankRerank -> HeadgateRetriever\n  0\.\d{3}  descaling\n  0\.\d{3}  \w+$",
        r"^  \['descaling', '\w+'\], each a probability$",
        r"^  passed: How do I get rid of limescale .*\n  blocked by injection:injection \(probability .*\)\.$",
        r"^  kept: \['descaling', 'kettle', 'lids'\]$",
        r"^  care +How do I .*\n  orders +where is my parcel\?\n  \(none\) +who won the cup\?$",
    ),
}
"""What each prints, as patterns of lines."""
NEEDS = {
    "decision_middleware": "langchain_core.decisions",
    "rag_citations": "sentencex",
    "streaming_chat": "sentencex",
    "intent_chatbot": "langgraph",
}


@pytest.mark.parametrize("name", SHOWN)
def test_example_shows_what_it_is_there_to_show(name, capsys, monkeypatch) -> None:
    pytest.importorskip(NEEDS.get(name, "headgate"))
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
    runpy.run_path(str(path))
    said = capsys.readouterr().out
    for pattern in SHOWN[name]:
        assert re.search(pattern, said, re.MULTILINE), f"{pattern} in\n{said}"


def test_a_passage_that_gives_orders_is_not_cited(monkeypatch) -> None:
    pytest.importorskip("sentencex")
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    space = runpy.run_path(str(EXAMPLES / "rag_citations.py"))
    query = "return policy, updated: what is free for ten years?"
    hits = space["index"].search(query, k=20)
    assert any("return policy, updated" in space["texts"][h.index] for h in hits)
    found = space["retrieve"]({"question": query})
    assert found
    assert "Larkspur return policy, updated" not in [d.metadata["source"] for d in found]
