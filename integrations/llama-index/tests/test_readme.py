"""What the README and the docstrings show, run with a toy for a model."""

import re
from pathlib import Path

import pytest
from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import TextNode
from llama_index.core.tools import QueryEngineTool
from llama_index.core.workflow import Event
from tests.embedders import Bags

import headgate
from headgate import Guard, Router
from headgate.testing import ToyScorer
from llama_index.embeddings.headgate import HeadgateEmbedding
from llama_index.evaluation.headgate import HeadgateFaithfulnessEvaluator, HeadgateRelevancyEvaluator
from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank
from llama_index.postprocessor.headgate.workflows import guard_step, route_step
from llama_index.query_engine.headgate import HeadgateChatEngine, HeadgateQueryEngine
from llama_index.selectors.headgate import HeadgateSelector, HeadgateToolRetriever

pytest.importorskip("sentencex")
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")

THRESHOLDS = {"injection:injection": 0.5, "injection": 0.5, "toxic": 0.5}


class Engine(CustomQueryEngine):
    def custom_query(self, query_str: str) -> Response:
        return Response(response="an answer", metadata={})


class Safe(Event):
    query: str


def blocks(text: str) -> str:
    return "\n".join(
        re.sub(r"^    ", "", block, flags=re.MULTILINE) if block.startswith("    ") else block
        for block in re.findall(r"```python\n(.*?)\s*```", text, flags=re.DOTALL)
    )


@pytest.fixture
def names(monkeypatch) -> dict:
    toys = {"mini/embed": Bags()}
    monkeypatch.setitem(vars(headgate), "load", lambda where, **_: toys.get(where) or ToyScorer(thresholds=THRESHOLDS))
    monkeypatch.setattr(Settings, "_llm", MockLLM())
    texts = ["an injection", "reset a password"]
    index = VectorStoreIndex([TextNode(text=t) for t in texts], embed_model=MockEmbedding(embed_dim=4))
    tools = [QueryEngineTool.from_defaults(Engine(), name=n, description=n) for n in ("cats", "dogs")]
    memory = ChatMemoryBuffer.from_defaults(llm=MockLLM(), tokenizer_fn=str.split)  # the default leaves its file open
    chat = SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory)
    names = {"index": index, "tools": tools, "llm": MockLLM(), "engine": Engine(), "chat": chat}
    return names | {"guard": Guard(ToyScorer(), ["injection"], 0.5), "Safe": Safe, "Billing": Safe, "Shipping": Safe,
                    "Other": Safe, "router": Router(ToyScorer(), ["billing", "shipping"])}  # fmt: skip


async def test_readme(names) -> None:
    exec(blocks(README), names)
    best, _ = names["engine"].query("password").source_nodes
    assert best.text.startswith("To reset")
    assert names["router"].query("dogs").metadata["selector_result"].ind == 1
    assert names["retriever"].retrieve("dogs") == [names["tools"][1]]
    assert names["verdicts"]["refused"] is None
    assert str(names["guarded"].query("an injection")) == "I can't help with that."
    assert names["result"].passing
    assert await names["Flow"](timeout=10).run(query="hello") == "hello"


def test_what_the_readme_prints(capsys) -> None:
    exec(re.findall(r"```python\n(.*?)\s*```", README, flags=re.DOTALL)[0], {})
    assert f"```\n{capsys.readouterr().out}```" in README


@pytest.mark.parametrize(
    "cls",
    [
        HeadgateChatEngine,
        HeadgateEmbedding,
        HeadgateFaithfulnessEvaluator,
        HeadgateNodeGuard,
        HeadgateQueryEngine,
        HeadgateRelevancyEvaluator,
        HeadgateRerank,
        HeadgateSelector,
        HeadgateToolRetriever,
        guard_step,
        route_step,
    ],
)
def test_docstrings(cls, names, monkeypatch) -> None:
    made = {} if cls is not HeadgateEmbedding else {"load": lambda where, **_: Bags()}
    monkeypatch.setattr(headgate, "load", made.get("load", headgate.load))
    code = blocks(cls.__doc__)
    assert cls.__name__ in code
    exec(code, names)
