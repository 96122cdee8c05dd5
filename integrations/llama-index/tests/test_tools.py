"""Tools for routers and agents."""

import copy
import pickle
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.response.schema import Response
from llama_index.core.llms import MockLLM
from llama_index.core.objects import ObjectRetriever
from llama_index.core.query_engine import CustomQueryEngine, ToolRetrieverRouterQueryEngine
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.core.tools.types import ToolMetadata
from tests.embedders import Bags

import headgate
from headgate import Router
from headgate.testing import ToyScorer
from llama_index.selectors.headgate import HeadgateToolRetriever, SelectionEvent
from llama_index.selectors.headgate.base import words_of


def weather(city: str) -> str:
    """Tell the weather in a city."""
    return city


def send_mail(to: str) -> str:
    """Send a letter by mail."""
    return to


def undocumented_sum(a: int) -> int:
    return a


TOOLS = [FunctionTool.from_defaults(f) for f in (weather, send_mail, undocumented_sum)]


def toy(tools: Any = TOOLS, **arguments: Any) -> HeadgateToolRetriever:
    return HeadgateToolRetriever(tools=tools, **({"scorer": ToyScorer()} | arguments))


def names(tools: list[Any]) -> list[str]:
    return [tool.metadata.name for tool in tools]


def test_what_is_read_of_a_tool() -> None:
    assert [words_of(tool.metadata) for tool in TOOLS] == [
        "Tell the weather in a city.", "Send a letter by mail.", "undocumented sum",
    ]  # fmt: skip
    assert words_of(ToolMetadata("find(x) is what it does", "other")) == "find(x) is what it does"
    assert words_of(ToolMetadata("  ", "some_name")) == "some name"


async def test_best_first_and_at_most_top_n(events) -> None:
    retriever = toy(top_n=2)
    for query in ("mail a letter", QueryBundle("mail a letter")):
        assert names(retriever.retrieve(query)) == names(await retriever.aretrieve(query))
        assert names(retriever.retrieve(query))[0] == "send_mail"
        assert len(retriever.retrieve(query)) == 2
    assert len(toy(top_n=9).retrieve("mail")) == 3
    event = next(e for e in events if isinstance(e, SelectionEvent))
    routes = {str(i): words_of(tool.metadata) for i, tool in enumerate(TOOLS)}
    found = Router(ToyScorer(), routes, 0.0, multi=True, top_k=2)("mail a letter")
    assert (event.query, event.choices) == ("mail a letter", list(routes.values()))
    assert (event.selected, event.decision["probabilities"]) == ([1, 0], found.probabilities)


def test_a_threshold_may_leave_none_and_a_default_takes_its_place() -> None:
    assert toy(threshold=0.5).retrieve("hello") == []
    assert names(toy(threshold=0.5).retrieve("the weather in the city")) == ["weather"]
    some = toy(threshold=0.5, default=["send_mail"], always_include=["undocumented_sum"])
    assert names(some.retrieve("hello")) == ["send_mail", "undocumented_sum"]
    assert names(some.retrieve("")) == ["send_mail", "undocumented_sum"]
    assert names(some.retrieve("the weather in the city")) == ["weather", "undocumented_sum"]
    assert names(toy(top_n=1, always_include=["weather"]).retrieve("the weather in a city")) == ["weather"]


def many(n: int) -> list[FunctionTool]:
    def make(i: int) -> FunctionTool:
        return FunctionTool.from_defaults(lambda x: x, name=f"tool{i}", description=f"word{i} thing{i % 7}")

    return [make(i) for i in range(n)]


def test_many_tools_are_shortlisted_once(counting) -> None:
    bags, scorer = Bags(), counting()
    read = []

    class Reads(type(scorer)):
        def score(self, texts: Any, labels: Any) -> Any:
            read.append(list(labels))
            return super().score(texts, labels)

    retriever = toy(many(120), scorer=Reads(), embedder=bags, size=8, top_n=1)
    for i in (3, 77, 119):
        assert names(retriever.retrieve(f"word{i} thing{i % 7}")) == [f"tool{i}"]
    assert [len(labels) for labels in read] == [8, 8, 8]
    embedded = [text for _, texts in bags.seen for text in texts if "word50" in text]
    assert len(embedded) == 1
    assert names(retriever.model_copy().retrieve("word5 thing5")) == ["tool5"]
    assert sum("word50" in text for _, texts in bags.seen for text in texts) == 1  # copies share it
    retriever.tools = many(60)
    assert names(retriever.retrieve("word59 thing3")) == ["tool59"]


def test_few_tools_need_no_shortlist(counting) -> None:
    bags = Bags()
    assert names(toy(embedder=bags, top_n=1).retrieve("mail a letter")) == ["send_mail"]
    assert bags.seen == []


def test_scalars(monkeypatch) -> None:
    seen = []
    made = {"mini/route": ToyScorer(), "mini/embed": Bags()}
    monkeypatch.setitem(vars(headgate), "load", lambda where, **a: seen.append((where, a)) or made[where])
    retriever = HeadgateToolRetriever(tools=many(60), embedder="mini/embed", device="cpu", top_n=1)
    assert seen == []
    for one in (retriever, retriever.model_copy(), copy.deepcopy(retriever)):
        assert names(one.retrieve("word5 thing5")) == ["tool5"]
    assert seen == [("mini/route", {"device": "cpu"}), ("mini/embed", {"device": "cpu"})]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tools": []}, "tools is empty"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "same description"),
        ({"tools": ["weather"]}, "tools"),
        ({"top_n": 0}, "top_n"),
        ({"threshold": 2}, "threshold"),
        ({"size": 0}, "size"),
        ({"default": ["mail"]}, r"default names \['mail'\]; expected some of the tools"),
        ({"always_include": ["mail"]}, "always_include names"),
        ({"scorer": ToyScorer(), "model": "x"}, "scorer came together with model"),
        ({"top_k": 2}, "Extra inputs"),
    ],
)
def test_bad_arguments_raise_before_any_model_is_loaded(wrong, message, loads) -> None:
    with pytest.raises(ValueError, match=message):
        HeadgateToolRetriever(**({"tools": TOOLS} | wrong))
    assert loads == []


def test_it_is_an_object_retriever_without_nodes() -> None:
    assert isinstance(toy(), ObjectRetriever)
    assert toy().node_postprocessors == []
    for name in ("retriever", "object_node_mapping"):
        with pytest.raises(AttributeError, match="keeps no nodes"):
            getattr(toy(), name)
    with pytest.raises(ValueError, match="3 tools can't be written as data"):
        toy(scorer=None).to_dict()
    assert copy.deepcopy(toy()).tools[0] is TOOLS[0]
    with pytest.raises(TypeError, match=r"a ready list can't be pickled .* build this anew"):
        pickle.dumps(toy(many(2)))


async def test_spans_and_the_event_loop(spans, ticks, counting) -> None:
    retriever = toy(scorer=counting(seconds=0.3), top_n=1)
    found, count = await ticks(retriever.aretrieve("mail a letter"))
    assert names(found) == ["send_mail"]
    assert count > 5
    got = {s.id_.split("-")[0]: s for s in spans.completed_spans}
    assert got["HeadgateToolRetriever.retrieve"].parent_id == got["HeadgateToolRetriever.aretrieve"].id_


class Engine(CustomQueryEngine):
    tag: str

    def custom_query(self, query_str: str) -> Response:
        return Response(response=f"{self.tag}: {query_str}", metadata={})


async def test_in_a_tool_retriever_router() -> None:
    tools = [QueryEngineTool.from_defaults(Engine(tag=t), name=t, description=f"about {t}") for t in ("cats", "dogs")]
    router = ToolRetrieverRouterQueryEngine(toy(tools, top_n=1), llm=MockLLM())
    assert str(router.query("dogs")) == str(await router.aquery("dogs")) == "dogs: dogs"
    careful = ToolRetrieverRouterQueryEngine(toy(tools, threshold=0.9, default=["cats"]), llm=MockLLM())
    assert str(careful.query("horses")) == "cats: horses"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # workflows look at every member of an agent
async def test_in_an_agent() -> None:
    agent = FunctionAgent(tool_retriever=toy(top_n=1), llm=MockLLM(), name="agent")
    assert names(await agent.get_tools("mail a letter")) == ["send_mail"]
