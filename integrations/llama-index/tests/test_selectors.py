import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import CustomQueryEngine, RouterQueryEngine
from llama_index.core.retrievers import RouterRetriever
from llama_index.core.schema import QueryBundle, TextNode
from llama_index.core.tools import QueryEngineTool, RetrieverTool, ToolMetadata

from headgate import Log, Logged, NotCalibratedError, Router
from headgate.testing import ToyScorer
from llama_index.selectors.headgate import HeadgateSelector, SelectionEvent

CHOICES = [
    ToolMetadata("revenue numbers", "sql"),
    ToolMetadata("how to install", "docs"),
    ToolMetadata("", "weather"),
]


def toy(scorer=None, **arguments) -> HeadgateSelector:
    return HeadgateSelector(scorer=scorer or ToyScorer(), **arguments)


async def test_the_best_choice() -> None:
    for query in ("how to install it", QueryBundle("how to install it")):
        for result in (toy().select(CHOICES, query), await toy().aselect(CHOICES, query)):
            assert result.ind == 1
            assert result.reason == "probability 0.98"
    assert toy().select(["revenue", "install"], "revenue?").ind == 0
    assert toy().select(CHOICES, "weather").ind == 2  # without a description by its name


def test_several_choices() -> None:
    result = toy(multi=True).select(CHOICES, "revenue numbers, and how to install")
    assert sorted(result.inds) == [0, 1]
    assert toy().select(CHOICES, "revenue numbers, and how to install").ind in (0, 1)


@pytest.mark.parametrize("multi", [False, True])
def test_none_of_these(multi) -> None:
    result = toy(default_index=2, multi=multi).select(CHOICES, "hello")
    assert result.ind == 2
    assert result.reason.startswith("none of the 3 choices fits (P(none) = 0.9")
    for text in ("hello", "", " "):
        with pytest.raises(ValueError, match=r"none of the 3 choices fits .* default_index="):
            toy(multi=multi).select(CHOICES, text)
    assert toy(threshold=0.999, default_index=0).select(CHOICES, "how to install").ind == 0


def test_several_choices_at_most() -> None:
    query = "revenue numbers, and how to install"
    assert len(toy(multi=True, max_outputs=1).select(CHOICES, query).inds) == 1
    assert len(toy(multi=True, max_outputs=2).select(CHOICES, query).inds) == 2
    for wrong, message in (({"max_outputs": 1}, "without multi"), ({"multi": True, "max_outputs": 0}, "max_outputs")):
        with pytest.raises(ValueError, match=message):
            toy(**wrong)


def test_gap_and_nulls() -> None:
    query = "revenue numbers, and how to install"
    assert toy(threshold=0).select(CHOICES, query).ind in (0, 1)
    with pytest.raises(ValueError, match="too near"):
        toy(threshold=0, gap=0.5).select(CHOICES, query)
    assert toy(gap=0.5, default_index=2).select(CHOICES, "how to install").ind == 1
    weak = toy(threshold=0.01)
    assert weak.select(CHOICES, "install jokes").ind == 1
    with pytest.raises(ValueError, match="none of the 3 choices fits"):
        toy(threshold=0.01, nulls=["jokes"]).select(CHOICES, "install jokes")
    for wrong in ({"gap": -1}, {"gap": 1, "multi": True}, {"nulls": "jokes"}):
        with pytest.raises(ValueError):  # noqa: PT011  the message is the core's or pydantic's
            toy(**wrong)


ROUTES = {"docs": "how to install", "sql": "revenue numbers", "weather": "rain"}


async def test_a_ready_router_knows_the_choices_by_name(events) -> None:
    ready = HeadgateSelector(router=Router(ToyScorer(), ROUTES, {"docs": 0.1, "sql": 0.1, "weather": 0.999}))
    for query, index in (("how to install", 1), ("revenue numbers", 0)):
        assert ready.select(CHOICES, query).ind == (await ready.aselect(CHOICES, query)).ind == index
        assert ready.select(CHOICES, query).reason == "probability 0.98"
    with pytest.raises(ValueError, match="pass default_index="):
        ready.select(CHOICES, "rain")
    event = next(e for e in events if isinstance(e, SelectionEvent))
    assert (event.selected, event.decision["choice"]) == ([1], "docs")
    with pytest.raises(ValueError, match=r"the choices are called \['a'\], and the router's routes \['docs'"):
        ready.select([ToolMetadata("how to install", "a")], "q")
    with pytest.raises(ValueError, match="router came together with threshold"):
        HeadgateSelector(router=Router(ToyScorer(), ROUTES), threshold=0.5)
    with pytest.raises(ValueError, match="router came together with scorer"):
        HeadgateSelector(router=Router(ToyScorer(), ROUTES), scorer=ToyScorer())


def test_a_router_in_shadow_selects_the_default(tmp_path) -> None:
    log = Log(tmp_path / "log.jsonl")
    task = Router(ToyScorer(), ROUTES)
    shadow = HeadgateSelector(router=Logged(task, log, "shadow", enforce=False, default="weather"))
    assert shadow.select(CHOICES, "how to install").ind == 2
    assert shadow.select(CHOICES, "how to install").reason.endswith("which found 'docs'")
    nowhere = HeadgateSelector(router=Logged(task, log, "shadow", enforce=False), default_index=0)
    assert nowhere.select(CHOICES, "how to install").ind == 0
    assert HeadgateSelector(router=Logged(task, log, "live")).select(CHOICES, "how to install").ind == 1
    assert [r.result.choice for r in log] == ["docs"] * 4


def test_bad_choices_raise() -> None:
    with pytest.raises(ValueError, match="default_index is 3; expected below 3"):
        toy(default_index=3).select(CHOICES, "revenue")
    with pytest.raises(ValueError, match="same description"):
        toy().select(["same", "same"], "revenue")
    with pytest.raises(ValueError, match="blank"):
        toy().select([ToolMetadata(""), "same"], "revenue")
    with pytest.raises(ValueError, match="expected names"):
        toy().select([], "revenue")


def test_an_order_is_refused() -> None:
    with pytest.raises(NotCalibratedError):
        toy(ToyScorer(meaning="order")).select(CHOICES, "revenue")


def test_the_event_holds_all_scores(events) -> None:
    toy().select(CHOICES, "how to install")
    with pytest.raises(ValueError, match="default_index"):
        toy().select(CHOICES, "hello")
    found, none = (e for e in events if isinstance(e, SelectionEvent))
    assert (found.query, found.selected) == ("how to install", [1])
    assert found.choices == ["revenue numbers", "how to install", "weather"]
    routes = {"0": "revenue numbers", "1": "how to install", "2": "weather"}
    assert found.decision["probabilities"] == Router(ToyScorer(), routes)("how to install").probabilities
    assert none.selected == []
    assert found.class_name() == "SelectionEvent"


async def test_spans(spans) -> None:
    toy().select(CHOICES, "revenue numbers")
    await toy().aselect(CHOICES, "revenue numbers")
    names = [s.id_.split("-")[0] for s in spans.completed_spans]
    assert names == ["HeadgateSelector._select", "HeadgateSelector._select", "HeadgateSelector._aselect"]


async def test_the_event_loop_goes_on(ticks, counting) -> None:
    scorer = counting(seconds=0.3)
    result, count = await ticks(toy(scorer).aselect(CHOICES, "how to install"))
    assert result.ind == 1
    assert scorer.calls == [1]
    assert count > 5


class Engine(CustomQueryEngine):
    tag: str

    def custom_query(self, query_str: str) -> Response:
        return Response(response=f"{self.tag}: {query_str}", metadata={})


async def test_in_a_router_query_engine() -> None:
    tools = [
        QueryEngineTool.from_defaults(Engine(tag=c.name), name=c.name, description=c.description or "rain")
        for c in CHOICES
    ]
    router = RouterQueryEngine(selector=toy(default_index=2), query_engine_tools=tools, llm=MockLLM())
    for query, tag in (("how to install", "docs"), ("revenue numbers", "sql"), ("hello", "weather")):
        response = router.query(query)
        assert str(response) == str(await router.aquery(query)) == f"{tag}: {query}"
        assert "probability" in response.metadata["selector_result"].reason or tag == "weather"
    strict = RouterQueryEngine(selector=toy(), query_engine_tools=tools, llm=MockLLM())
    with pytest.raises(ValueError, match="pass default_index="):
        strict.query("hello")
    assert router.get_prompts() == strict.get_prompts()


async def test_in_a_router_retriever() -> None:
    index = VectorStoreIndex([TextNode(text="a")], embed_model=MockEmbedding(embed_dim=4))
    tools = [RetrieverTool.from_defaults(index.as_retriever(), description=d) for d in ("cats", "dogs")]
    router = RouterRetriever(selector=toy(), retriever_tools=tools, llm=MockLLM())
    assert len(router.retrieve("dogs")) == 1
    assert len(await router.aretrieve("dogs")) == 1
