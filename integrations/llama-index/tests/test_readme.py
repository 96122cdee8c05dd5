"""What the README and the docstrings show, run with a toy for a model."""

import re
from pathlib import Path

import pytest
from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import TextNode
from llama_index.core.tools import QueryEngineTool

import headgate
from headgate.testing import ToyScorer
from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank
from llama_index.selectors.headgate import HeadgateSelector

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


class Engine(CustomQueryEngine):
    def custom_query(self, query_str: str) -> Response:
        return Response(response="an answer", metadata={})


def blocks(text: str) -> str:
    return "\n".join(
        re.sub(r"^    ", "", block, flags=re.MULTILINE) if block.startswith("    ") else block
        for block in re.findall(r"```python\n(.*?)\s*```", text, flags=re.DOTALL)
    )


@pytest.fixture
def names(monkeypatch) -> dict:
    monkeypatch.setitem(vars(headgate), "load", lambda where, **_: ToyScorer(thresholds={"injection:injection": 0.5}))
    monkeypatch.setattr(Settings, "_llm", MockLLM())
    texts = ["an injection", "reset a password"]
    index = VectorStoreIndex([TextNode(text=t) for t in texts], embed_model=MockEmbedding(embed_dim=4))
    tools = [QueryEngineTool.from_defaults(Engine(), name=n, description=n) for n in ("cats", "dogs")]
    return {"index": index, "tools": tools, "llm": MockLLM()}


def test_readme(names) -> None:
    exec(blocks(README), names)
    (best,) = names["engine"].query("password").source_nodes
    assert best.score > 0.9
    assert names["router"].query("dogs").metadata["selector_result"].ind == 1


@pytest.mark.parametrize("cls", [HeadgateNodeGuard, HeadgateRerank, HeadgateSelector])
def test_docstrings(cls, names) -> None:
    code = blocks(cls.__doc__)
    assert cls.__name__ in code
    exec(code, names)
