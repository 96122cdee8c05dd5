"""What users say is judged before the model reads it."""

import json
from typing import Any

import pytest

pytest.importorskip("langchain.agents")

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from tests.chatting import TOOLS, Words, call

from headgate import Guard, Log, Logged
from headgate.testing import ToyScorer
from langchain_headgate import GuardBlockedError
from langchain_headgate.agents import HeadgateInputGuardMiddleware

REFUSAL = "I can't help with that."


def toy(*rules: str, **more: Any) -> HeadgateInputGuardMiddleware:
    return HeadgateInputGuardMiddleware(guard=Guard(ToyScorer(), list(rules or ["bomb"]), 0.9), **more)


def words(*said: Any) -> Words:
    return Words(said=[AIMessage(s) if isinstance(s, str) else s for s in said or ["All is well."]])


def human(*said: Any) -> dict[str, Any]:
    return {"messages": [HumanMessage(s) for s in said]}


async def both(agent: Any, given: Any, *config: Any) -> list[Any]:
    return [agent.invoke(given, *config), await agent.ainvoke(given, *config)]


@pytest.mark.parametrize("each_step", [False, True])
async def test_a_blocked_turn_ends_with_a_refusal(each_step: bool) -> None:
    model, guard = words(), toy(each_step=each_step)
    for result in await both(create_agent(model, [], middleware=[guard]), human("a bomb")):
        assert [(m.type, m.text) for m in result["messages"]] == [("human", "[removed]"), ("ai", REFUSAL)]
        verdict = result["guard_verdicts"][guard.name]
        assert (verdict["allowed"], verdict["broken"]) == (False, ["bomb"])
        assert json.loads(json.dumps(verdict)) == verdict
        assert result["messages"][-1].response_metadata["guard_verdicts"] == {guard.name: verdict}
    assert model.calls == []


async def test_an_allowed_turn_is_answered_and_its_verdict_kept() -> None:
    guard = toy()
    for result in await both(create_agent(words(), [], middleware=[guard]), human("a cake")):
        assert [m.text for m in result["messages"]] == ["a cake", "All is well."]
        assert result["guard_verdicts"][guard.name]["allowed"] is True


async def test_raises_with_the_verdict() -> None:
    agent = create_agent(words(), [], middleware=[toy(on_block="raise")])
    with pytest.raises(GuardBlockedError, match="blocked by bomb"):
        agent.invoke(human("a bomb"))
    with pytest.raises(GuardBlockedError, match="blocked by bomb"):
        await agent.ainvoke(human("a bomb"))


def test_a_blocked_turn_is_not_read_in_the_next() -> None:
    model = words()
    agent = create_agent(model, [], middleware=[toy()], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    agent.invoke(human("a bomb"), config)
    result = agent.invoke(human("a cake"), config)
    assert [m.text for m in result["messages"]] == ["[removed]", REFUSAL, "a cake", "All is well."]
    assert "bomb" not in str([m.content for m in model.calls[0]["messages"]])
    kept = create_agent(words(), [], middleware=[toy(replacement=None)]).invoke(human("a bomb"))
    assert kept["messages"][0].text == "a bomb"


def test_a_turn_is_all_that_was_said_since_the_last_answer() -> None:
    agent = create_agent(words(), [], middleware=[toy("bomb now")])
    assert agent.invoke(human("a bomb", "build it now"))["messages"][-1].text == REFUSAL
    assert agent.invoke(human("a bomb", "hello"))["messages"][-1].text != REFUSAL
    old = {"messages": [HumanMessage("a bomb now"), AIMessage("No."), HumanMessage("hello")]}
    assert agent.invoke(old)["messages"][-1].text == "All is well."
    for turns in (2, None):
        every = create_agent(words(), [], middleware=[toy("bomb now", turns=turns)])
        result = every.invoke(old)
        assert [m.text for m in result["messages"]] == ["a bomb now", "No.", "[removed]", REFUSAL]


def test_a_call_of_tools_ends_no_turn() -> None:
    asked = [HumanMessage("a bomb"), call("search", query="x"), ToolMessage("y", tool_call_id="1"), HumanMessage("now")]
    result = create_agent(words(), [], middleware=[toy("bomb now")]).invoke({"messages": asked})
    assert [m.text for m in result["messages"]] == ["[removed]", "", "y", "[removed]", REFUSAL]


def test_messages_of_any_shape_are_read_and_those_of_others_are_not() -> None:
    agent = create_agent(words(), [], middleware=[toy()])
    blocks = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "a bomb"}]
    assert agent.invoke({"messages": [HumanMessage(blocks)]})["messages"][-1].text == REFUSAL
    assert agent.invoke({"messages": [{"role": "user", "content": "a bomb"}]})["messages"][-1].text == REFUSAL
    others = [SystemMessage("never say bomb"), HumanMessage("hello")]
    assert agent.invoke({"messages": others})["messages"][-1].text == "All is well."
    assert agent.invoke({"messages": [SystemMessage("a bomb")]})["guard_verdicts"] == {}


class Interrupts(AgentMiddleware):
    """A user who says something while the agent works."""

    def after_model(self, state: Any, runtime: Any) -> Any:
        return {"messages": [HumanMessage("a bomb")]} if len(state["messages"]) == 2 else None


def test_each_step_sees_what_is_said_meanwhile() -> None:
    for each_step, said in ((False, "Done."), (True, REFUSAL)):
        model = words(call("weather", city="Rome"), "Done.")
        agent = create_agent(model, TOOLS, middleware=[toy(each_step=each_step), Interrupts()])
        assert agent.invoke(human("hi"))["messages"][-1].text == said


def test_two_guards_have_names_of_their_own_and_both_their_verdicts() -> None:
    guards = [toy(), toy("poison"), toy("poison", key="again"), toy("poison", turns=2)]
    names = [guard.name for guard in guards]
    assert names[:3] == [f"HeadgateInputGuardMiddleware[{key}]" for key in ("bomb", "poison", "again")]
    assert len(set(names)) == 4
    result = create_agent(words(), [], middleware=guards).invoke(human("a cake"))
    assert set(result["guard_verdicts"]) == set(names)
    blocked = create_agent(words(), [], middleware=guards).invoke(human("a poison"))
    assert set(blocked["guard_verdicts"]) == {names[0], names[1]}


def test_names_are_the_same_in_every_process_and_fit_the_host() -> None:
    guard = HeadgateInputGuardMiddleware(forbid=["injection:injection"])
    assert guard.name == "HeadgateInputGuardMiddleware[injection.injection]"
    one, two = (HeadgateInputGuardMiddleware(forbid=["a"], threshold=t) for t in (0.5, 0.6))
    assert (one.name, two.name) == (
        "HeadgateInputGuardMiddleware[a-946d77]",
        "HeadgateInputGuardMiddleware[a-e294e1]",
    )


def test_a_shadow_lets_everything_through(tmp_path) -> None:
    logged = Logged(Guard(ToyScorer(), ["bomb"], 0.5), Log(tmp_path / "log"), "g", enforce=False)
    guard = HeadgateInputGuardMiddleware(guard=logged)
    result = create_agent(words(), [], middleware=[guard]).invoke(human("a bomb"))
    assert result["messages"][-1].text == "All is well."
    assert result["guard_verdicts"][guard.name]["enforced"] is False


def test_the_conversation_is_not_in_the_spans_of_the_hooks(recorder) -> None:
    guard = toy()
    create_agent(words(), [], middleware=[guard]).invoke(human("a cake"), {"callbacks": [recorder]})
    (span,) = [r for r in recorder.roots[0].child_runs if r.name == f"{guard.name}.before_agent"]
    assert "cake" not in str(span.inputs)


async def test_a_chat_message_of_the_user_is_judged_too() -> None:
    agent = create_agent(words(), [], middleware=[toy()])
    for role in ("user", "Human"):
        for result in await both(agent, {"messages": [ChatMessage(role=role, content="a bomb")]}):
            assert [m.text for m in result["messages"]] == ["[removed]", REFUSAL]
    (result, _) = await both(agent, {"messages": [ChatMessage(role="critic", content="a bomb")]})
    assert result["messages"][-1].text == "All is well."
