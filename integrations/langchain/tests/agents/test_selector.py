"""The model sees the tools that fit, and can't call the others."""

import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("langchain.agents")

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from tests.chatting import TOOLS, Words, call

import headgate
from headgate import Log, Logged, Router
from headgate.testing import ToyScorer
from langchain_headgate.agents import HeadgateToolSelectorMiddleware

Loads = list[tuple[str, dict[str, Any]]]


class Bags(ToyScorer):
    """A toy that embeds too: a place for each word."""

    def embed(self, texts: Sequence[str], *, role: str = "query") -> Any:
        rows = np.zeros((len(texts), 512))
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[hash_of(word)] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def hash_of(word: str) -> int:
    return sum(ord(c) * 31**i for i, c in enumerate(word)) % 512


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    seen: Loads = []

    def load(where: str, **arguments: Any) -> Bags:
        seen.append((where, arguments))
        time.sleep(0.01)
        return Bags()

    monkeypatch.setitem(vars(headgate), "load", load)
    return seen


def named(name: str, description: str) -> StructuredTool:
    return StructuredTool.from_function(lambda: f"{name} was run", name=name, description=description)


def many(n: int = 60) -> list[Any]:
    return [*TOOLS, *(named(f"tool_{i}", f"Do number{i}.") for i in range(n))]


def words(*said: Any) -> Words:
    return Words(said=[*said, AIMessage("Done.")])


def given(*texts: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(text) for text in texts]}


async def shown(selector: Any, tools: Any, *texts: str) -> list[str]:
    model = words()
    agent = create_agent(model, tools, middleware=[selector])
    found = agent.invoke(given(*texts)), await agent.ainvoke(given(*texts))
    assert found[0]["selected_tools"] == found[1]["selected_tools"]
    assert model.calls[0]["tools"] == model.calls[1]["tools"]
    return model.calls[0]["tools"]


async def test_the_best_are_shown_in_their_own_order() -> None:
    selector = HeadgateToolSelectorMiddleware(max_tools=2)
    text = "delete_data: Delete a database. Then tell the weather"
    assert await shown(selector, TOOLS, text) == ["weather", "delete_data"]
    assert await shown(selector, list(reversed(TOOLS)), text) == ["delete_data", "weather"]


async def test_up_from_a_threshold_there_may_be_none() -> None:
    selector = HeadgateToolSelectorMiddleware(threshold=0.95)
    assert await shown(selector, TOOLS, "search: search the web") == ["search"]
    model = words()
    result = create_agent(model, TOOLS, middleware=[selector]).invoke(given("hello"))
    assert "tools" not in model.calls[0]
    assert result["selected_tools"][selector.name] == {"tools": [], "probabilities": {}, "hidden_calls": []}


async def test_some_are_always_shown_and_dicts_too() -> None:
    served = {"type": "web_search", "name": "served"}
    selector = HeadgateToolSelectorMiddleware(max_tools=1, always_include=["delete_data"])
    assert await shown(selector, [*TOOLS, served], "search the web") == ["delete_data", "search", "served"]
    with pytest.raises(ValueError, match=r"always_include names \['dance'\]; expected some of the agent's tools"):
        await shown(HeadgateToolSelectorMiddleware(max_tools=1, always_include=["dance"]), TOOLS, "x")


async def test_of_many_tools_the_nearest_are_read_and_embedded_once(loads: Loads) -> None:
    selector = HeadgateToolSelectorMiddleware(max_tools=3, size=8, device="cpu")
    tools = many()
    for _ in range(2):
        found = await shown(selector, tools, "please do number42 for me")
        assert "tool_42" in found
        assert len(found) == 3
    assert loads == [("mini/route", {"device": "cpu"}), ("mini/embed", {"device": "cpu"})]
    assert len(selector.kept._made) == 1


async def test_a_copy_with_other_settings_chooses_by_those(loads: Loads) -> None:
    selector = HeadgateToolSelectorMiddleware(max_tools=1)
    assert len(await shown(selector, TOOLS, "search the web")) == 1
    assert len(await shown(selector.model_copy(update={"max_tools": 2}), TOOLS, "search the web")) == 2
    await shown(selector.model_copy(update={"model": "mini/nli"}), TOOLS, "search the web")
    assert [where for where, _ in loads] == ["mini/route", "mini/nli"]


async def test_no_model_is_read_where_there_is_nothing_to_choose(loads: Loads) -> None:
    assert len(await shown(HeadgateToolSelectorMiddleware(max_tools=3), TOOLS, "hello")) == 3
    assert len(await shown(HeadgateToolSelectorMiddleware(max_tools=1), TOOLS, " ")) == 3
    assert loads == []


async def test_the_request_counts_while_tools_are_called() -> None:
    """What tools return doesn't push the request out of sight."""
    model = words(call("delete_data", base="the weather of a city"), call("search", "2", query="the weather"))
    selector = HeadgateToolSelectorMiddleware(max_tools=1)
    create_agent(model, TOOLS, middleware=[selector]).invoke(given("delete a database"))
    assert [c["tools"] for c in model.calls] == [["delete_data"]] * 3


async def test_follow_ups_are_read_with_what_came_before() -> None:
    before = {
        "messages": [HumanMessage("delete a database"), AIMessage("Which delete database?"), HumanMessage("that one")]
    }
    model = words()
    create_agent(model, TOOLS, middleware=[HeadgateToolSelectorMiddleware(max_tools=1)]).invoke(before)
    assert model.calls[0]["tools"] == ["delete_data"]


async def test_descriptions_can_be_said_otherwise() -> None:
    long = named("odd", "First words.\n\nA second paragraph on dancing.")
    selector = HeadgateToolSelectorMiddleware(max_tools=1)
    assert selector._label(long) == "odd: First words."
    told = HeadgateToolSelectorMiddleware(max_tools=1, descriptions={"odd": "dancing"})
    assert await shown(told, [*TOOLS, long], "dancing odd") == ["odd"]


async def test_hidden_tools_are_not_executed() -> None:
    calls = [*call("delete_data", "1", base="x").tool_calls, *call("search", "2", query="x").tool_calls]
    selector = HeadgateToolSelectorMiddleware(max_tools=1)
    for awaited in (False, True):
        agent = create_agent(words(AIMessage("", tool_calls=calls)), TOOLS, middleware=[selector])
        request = given("search the web")
        result = await agent.ainvoke(request) if awaited else agent.invoke(request)
        refused, done = [m for m in result["messages"] if isinstance(m, ToolMessage)]
        assert (refused.status, refused.tool_call_id) == ("error", "1")
        assert refused.text == "delete_data is not available here; these are: search. It was not executed."
        assert (done.status, done.text) == ("success", "found: x")


async def test_a_ready_router_chooses_among_its_own_routes(tmp_path) -> None:
    routes = {t.name: t.description for t in TOOLS}
    router = Router(ToyScorer(), routes, 0.6, multi=True)
    assert await shown(HeadgateToolSelectorMiddleware(router=router), TOOLS, "search the web") == ["search"]
    with pytest.raises(ValueError, match=r"tools \['tool_0'\], which are no routes of the router"):
        await shown(HeadgateToolSelectorMiddleware(router=router), many(1), "search")
    included = HeadgateToolSelectorMiddleware(router=router, always_include=["tool_0"])
    assert await shown(included, many(1), "search the web") == ["search", "tool_0"]
    shadow = Logged(router, Log(tmp_path / "log"), "tools", enforce=False)
    assert len(await shown(HeadgateToolSelectorMiddleware(router=shadow), TOOLS, "search the web")) == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "max_tools and threshold are both left out"),
        ({"max_tools": 0}, "max_tools"),
        ({"max_tools": 3, "size": 2}, "size is 2, and max_tools 3"),
        ({"max_tools": 3, "threshold": 2.0}, "threshold"),
        ({"max_tools": 3, "turns": 0}, "turns is 0"),
        ({"max_tools": 3, "least": -1}, "least"),
    ],
)
def test_bad_arguments_are_refused_at_once(wrong: Any, said: str, loads: Loads) -> None:
    with pytest.raises(ValueError, match=said):
        HeadgateToolSelectorMiddleware(**wrong)
    assert loads == []
