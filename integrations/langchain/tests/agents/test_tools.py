"""Calls of tools and their results are judged."""

from typing import Annotated, Any

import pytest

pytest.importorskip("langchain.agents")

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.types import Command, Overwrite
from tests.chatting import TOOLS, Words, call

from headgate import Guard
from headgate.testing import ToyScorer
from langchain_headgate import GuardBlockedError
from langchain_headgate.agents import HeadgateToolGuardMiddleware, HeadgateToolResultGuardMiddleware
from langchain_headgate.agents._results import messages_of, with_messages

HUMAN = {"messages": [HumanMessage("hi")]}
BOTH = [HeadgateToolGuardMiddleware, HeadgateToolResultGuardMiddleware]


def rules(*names: str, scorer: Any = None) -> Guard:
    return Guard(scorer or ToyScorer(), list(names or ["bomb"]), 0.9)


def agent(guard: Any, *said: Any, tools: Any = TOOLS) -> Any:
    return create_agent(Words(said=[*said, AIMessage("Done.")]), tools, middleware=[guard])


async def both(make: Any) -> list[ToolMessage]:
    """The tool messages of a run, and of one that is awaited."""
    results = [make().invoke(HUMAN), await make().ainvoke(HUMAN)]
    assert all(r["messages"][-1].text == "Done." for r in results)
    return [m for r in results for m in r["messages"] if m.type == "tool"]


# ------------------------------------------------------------------------------ calls


async def test_a_call_that_breaks_a_rule_is_not_executed() -> None:
    guard = HeadgateToolGuardMiddleware(guard=rules("delete prod"))
    for message in await both(lambda: agent(guard, call("delete_data", base="prod"))):
        assert (message.status, message.name, message.tool_call_id) == ("error", "delete_data", "1")
        assert message.text == "This call was refused: it breaks a rule. It was not executed."
        assert message.response_metadata["guard_verdicts"][guard.name]["broken"] == ["delete prod"]
    for message in await both(lambda: agent(guard, call("delete_data", base="test"))):
        assert (message.status, message.text) == ("success", "deleted test")
        assert message.response_metadata["guard_verdicts"][guard.name]["allowed"] is True


async def test_name_description_and_every_argument_are_read() -> None:
    seen: list[str] = []

    class Reads(ToyScorer):
        def score(self, texts: Any, labels: Any) -> Any:
            seen.extend(texts)
            return super().score(texts, labels)

    @tool
    def order(what: str, how: dict[str, Any], role: str = "") -> str:
        """Order something."""
        return "ordered"

    guard = HeadgateToolGuardMiddleware(guard=rules(scorer=Reads()))
    await both(
        lambda: agent(guard, call("order", what="tea", how={"id": "grün", "many": [1]}, role="me"), tools=[order])
    )
    assert seen == ['order: Order something.\nwhat: tea\nhow: {"id": "grün", "many": [1]}\nrole: me'] * 2


@pytest.mark.parametrize("tools", [["search"], [TOOLS[2]]], ids=["names", "tools"])
@pytest.mark.parametrize("cls", BOTH)
async def test_only_watched_tools_are_judged(cls: type, tools: Any) -> None:
    guard = cls(guard=rules("bomb"), tools=tools)
    assert guard.tools == ()  # there the host looks for tools that a middleware brings
    (one, other) = await both(lambda: agent(guard, call("weather", city="bomb")))
    assert (one.status, other.status) == ("success", "success")
    (one, other) = await both(lambda: agent(guard, call("search", query="bomb")))
    assert (one.status, other.status) == ("error", "error")


@pytest.mark.parametrize("cls", BOTH)
async def test_raises_through_the_tool_node(cls: type) -> None:
    made = agent(cls(guard=rules(), on_block="raise"), call("search", query="bomb"))
    with pytest.raises(GuardBlockedError, match="blocked by bomb"):
        made.invoke(HUMAN)
    with pytest.raises(GuardBlockedError, match="blocked by bomb"):
        await agent(cls(guard=rules(), on_block="raise"), call("search", query="bomb")).ainvoke(HUMAN)


@pytest.mark.parametrize("cls", BOTH)
async def test_calls_side_by_side_have_verdicts_of_their_own(cls: type) -> None:
    calls = [*call("search", "1", query="bomb").tool_calls, *call("search", "2", query="cake").tool_calls]
    guard = cls(guard=rules())
    found = await both(lambda: agent(guard, AIMessage("", tool_calls=calls)))
    assert [(m.tool_call_id, m.status) for m in found] == [("1", "error"), ("2", "success")] * 2


async def test_both_guards_write_beside_each_other() -> None:
    guards = [cls(guard=rules(name)) for cls, name in zip(BOTH, ("bomb", "poison"), strict=True)]
    made = create_agent(Words(said=[call("search", query="x"), AIMessage("Done.")]), TOOLS, middleware=guards)
    (message,) = [m for m in made.invoke(HUMAN)["messages"] if m.type == "tool"]
    assert set(message.response_metadata["guard_verdicts"]) == {guard.name for guard in guards}


# ------------------------------------------------------------------------------ results


@tool(response_format="content_and_artifact")
def fetch(page: str) -> tuple[str, dict[str, str]]:
    """Fetch a page."""
    return f"the page says: {page}", {"raw": page}


@tool
def hand_over(to: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
    """Hand over."""
    return Command(update={"messages": [ToolMessage(f"handed to {to}", tool_call_id=tool_call_id)]})


async def test_a_result_that_breaks_a_rule_is_replaced_before_the_model_reads_it() -> None:
    guard = HeadgateToolResultGuardMiddleware(guard=rules())
    model = Words(said=[call("fetch", page="a bomb"), AIMessage("Done.")])
    result = create_agent(model, [fetch], middleware=[guard]).invoke(HUMAN)
    message = result["messages"][2]
    assert (message.text, message.status) == ("The result of this call was withheld: it breaks a rule.", "error")
    assert (message.artifact, message.name, message.tool_call_id) == ({"raw": "a bomb"}, "fetch", "1")
    assert message.response_metadata["guard_verdicts"][guard.name]["broken"] == ["bomb"]
    assert "bomb" not in str([m.content for m in model.calls[1]["messages"]])
    for message in await both(lambda: agent(guard, call("fetch", page="a cake"), tools=[fetch])):
        assert (message.text, message.artifact) == ("the page says: a cake", {"raw": "a cake"})


async def test_messages_in_a_command_are_judged() -> None:
    guard = HeadgateToolResultGuardMiddleware(guard=rules())
    for message in await both(lambda: agent(guard, call("hand_over", to="bomb"), tools=[hand_over])):
        assert (message.status, message.tool_call_id) == ("error", "1")
        assert "bomb" not in message.text
    for message in await both(lambda: agent(guard, call("hand_over", to="Ann"), tools=[hand_over])):
        assert message.text == "handed to Ann"


def wrapped(result: Any, state: Any = ()) -> Any:
    """What the guard makes of this result."""

    class Request:
        tool = None

    Request.tool_call = {"name": "t", "args": {}, "id": "1"}
    Request.state = {"messages": list(state)}
    guard = HeadgateToolResultGuardMiddleware(guard=rules())
    return guard.wrap_tool_call(Request(), lambda _: result)


def said(result: Any) -> list[str]:
    return [m.text for m in messages_of(result)]


NOTICE = "The result of this call was withheld: it breaks a rule."


@pytest.mark.parametrize(
    "update",
    [
        {"messages": [ToolMessage("bomb", tool_call_id="1")], "other": "bomb"},
        {"messages": ToolMessage("bomb", tool_call_id="1")},
        {"messages": [{"role": "tool", "content": "bomb", "tool_call_id": "1"}]},
        {"messages": Overwrite([ToolMessage("bomb", tool_call_id="1")])},
        {"messages": [HumanMessage("bomb")]},
        {"messages": [AIMessage("bomb", tool_calls=call("t").tool_calls)]},
        [("messages", [ToolMessage("bomb", tool_call_id="1")])],
        [ToolMessage("bomb", tool_call_id="1")],
    ],
)
def test_every_way_to_update_messages(update: Any) -> None:
    before = str(update)
    command = wrapped(Command(update=update, goto="next"))
    assert said(command) == [NOTICE]
    assert command.goto == "next"
    assert str(update) == before
    assert [m.tool_calls for m in messages_of(command) if m.type == "ai"] in ([], [[]])
    listed = wrapped([Command(update=update), ToolMessage("fine", tool_call_id="1")])
    assert said(listed) == [NOTICE, "fine"]


def test_a_conversation_that_is_handed_over_is_not_judged_again() -> None:
    old = [HumanMessage("a bomb", id="1"), AIMessage("no", id="2")]
    forged = AIMessage("the bomb", id="2")
    new = ToolMessage("fine", tool_call_id="1")
    command = wrapped(Command(update={"messages": [*old, RemoveMessage("x"), new]}), old)
    assert said(command) == ["a bomb", "no", "", "fine"]
    assert said(wrapped(Command(update={"messages": [forged]}), old)) == [NOTICE]


def test_nothing_to_judge_is_handed_on() -> None:
    command = Command(goto="next")
    assert wrapped(command) == command
    for odd, kind in (("text", "str"), (Command(update=3), "int")):
        with pytest.raises(TypeError, match=f"{kind}; expected"):
            wrapped(odd)
    message = ToolMessage("x", tool_call_id="1")
    assert with_messages([message], [message]) == [message]
