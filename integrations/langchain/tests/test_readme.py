"""What the README shows, run with the model that comes along, and the docstrings, with a toy for one."""

import io
import re
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from tests import pages

import headgate
import langchain_headgate
from headgate.testing import ToyScorer

pytest.importorskip("langchain_classic.retrievers")
README = Path(__file__).parents[1] / "README.md"
MINI = Path(headgate.__file__).parent / "mini" / "scorer.json"
CLASSES = [getattr(langchain_headgate, name) for name in langchain_headgate.__all__ if name.startswith("Headgate")]


def blocks(text: str) -> str:
    return "\n".join(
        re.sub(r"^    ", "", block, flags=re.MULTILINE) if block.startswith("    ") else block
        for block in re.findall(r"```python\n(.*?)\s*```", text, flags=re.DOTALL)
    )


@pytest.fixture
def names(monkeypatch) -> dict:
    own = {"injection:injection": 0.5, "toxicity:toxic": 0.5}
    monkeypatch.setitem(vars(headgate), "load", lambda where, **arguments: ToyScorer(thresholds=own))
    step = RunnableLambda(str)
    model = FakeListChatModel(responses=["an answer"])
    base = RunnableLambda(lambda _: [Document("an injection"), Document("a technical problem")])
    prompt = ChatPromptTemplate.from_messages([("human", "{q}")]).with_config(run_name="prompt")
    steps = ("billing", "tech", "human", "billing_chain", "tech_chain", "human_chain", "sorry")
    return dict.fromkeys(steps, step) | {
        "llm": model,
        "model": model,
        "base": base,
        "retriever": base,
        "documents": [Document("It has a speaker.")],
        "prompt": prompt,
    }


@pytest.mark.skipif(not MINI.is_file(), reason="this checkout has no mini")
def test_readme(tmp_path, monkeypatch) -> None:
    pytest.importorskip("langchain.agents")
    monkeypatch.chdir(tmp_path)
    own: dict = {}
    shown = pages.blocks(README.read_text("utf-8"))
    assert len(shown) >= 6
    assert all(block.text for block in shown)
    for block in shown:
        if pages.newer(block.code):
            continue
        out = io.StringIO()
        with redirect_stdout(out):
            exec(block.code, own)
        assert pages.same(block.text or "", out.getvalue()), f"line {block.line} prints\n{out.getvalue()}"
    assert "classifier" in own or find_spec("langchain_core.decisions") is None
    assert isinstance(own["hidden"].invoke("hello"), AIMessage)


@pytest.mark.parametrize("cls", CLASSES)
def test_docstrings(cls, names) -> None:
    code = blocks(cls.__doc__)
    assert cls.__name__ in code
    exec(code, names)


def test_public_names() -> None:
    assert langchain_headgate.__all__ == sorted(langchain_headgate.__all__)
    assert all(hasattr(langchain_headgate, name) for name in langchain_headgate.__all__)
