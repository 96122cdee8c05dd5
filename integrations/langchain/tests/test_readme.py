"""What the README and the docstrings show, run with a toy for a model."""

import re
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

import headgate
import langchain_headgate
from headgate.testing import ToyScorer
from langchain_headgate import (
    HeadgateCrossEncoder,
    HeadgateDocumentGuard,
    HeadgateEmbeddings,
    HeadgateGrounding,
    HeadgateGuard,
    HeadgateReranker,
    HeadgateRetriever,
    HeadgateRouter,
    HeadgateStreamGuard,
)

pytest.importorskip("langchain_classic.retrievers")
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
CLASSES = [
    HeadgateCrossEncoder,
    HeadgateDocumentGuard,
    HeadgateEmbeddings,
    HeadgateGrounding,
    HeadgateGuard,
    HeadgateReranker,
    HeadgateRetriever,
    HeadgateRouter,
    HeadgateStreamGuard,
]


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


def test_readme(names) -> None:
    exec(blocks(README), names)
    (best,) = names["retriever"].invoke("a technical problem")
    assert best.metadata["relevance_score"] > 0.9
    assert names["route"].invoke("a technical problem")["key"] == "tech"
    assert names["check"].invoke("hello") == "hello"


@pytest.mark.parametrize("cls", CLASSES)
def test_docstrings(cls, names) -> None:
    code = blocks(cls.__doc__)
    assert cls.__name__ in code
    exec(code, names)


def test_public_names() -> None:
    assert langchain_headgate.__all__ == sorted(langchain_headgate.__all__)
    assert all(hasattr(langchain_headgate, name) for name in langchain_headgate.__all__)
