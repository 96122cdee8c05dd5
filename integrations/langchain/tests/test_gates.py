import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

pytest.importorskip("langchain_core.decisions")
pytest.importorskip("langchain.agents.middleware.model_router")
from langchain.agents import create_agent
from langchain.agents.middleware import AutoModeMiddleware, ModelChoice
from langchain.agents.middleware.model_router import ModelRouterMiddleware
from langchain_core.decisions import BaseDecisionModel, ClassifierResponse, NoulCriteria

import headgate
from headgate.testing import ToyScorer
from langchain_headgate import HeadgateDecisionModel
from langchain_headgate.agents import AbstainedError, HeadgateModelGateMiddleware, HeadgateToolGateMiddleware

MINI = Path(headgate.__file__).parent / "mini" / "scorer.json"
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*ModelRouterMiddleware:langchain_core._api.beta_decorator.LangChainBetaWarning"
)
THREAD = {"configurable": {"thread_id": "1"}}
CONCRETE = {"is_risky": {"true": "deletes, sends or pays", "false": "reads or searches"}}


class Chat(GenericFakeChatModel):
    def bind_tools(self, tools, **kwargs):
        return self


def says(*messages: str | AIMessage) -> Chat:
    return Chat(messages=iter([AIMessage(m) if isinstance(m, str) else m for m in messages]))


def calls(name: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"{name}-1"}])


RAN: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()


@tool
def delete_file(path: str) -> str:
    """Delete a file permanently."""
    RAN.append(path)
    return "deleted"


@tool
def read_file(path: str) -> str:
    """Read a file."""
    RAN.append(path)
    return "words"


@tool
def note(text: str) -> Command:
    """Write a note."""
    RAN.append(text)
    return Command(update={"messages": [ToolMessage("noted", tool_call_id="note-1")]})


TOOLS = [delete_file, read_file, note]


class Sure(BaseDecisionModel):
    """Somebody else's decision model, that says what it is told."""

    model: str = "sure"
    probability: float = 0.0
    broken: bool = False

    @property
    def _provider(self) -> str:
        return "test"

    def _classify(self, state, questions):
        if self.broken:
            raise RuntimeError("no answer")
        SEEN.append((state, questions))
        answers = {}
        for key, question in questions.items():
            if question.type == "noul":
                answers[key] = {"type": "noul", "noul": self.probability}
            else:
                names = list(question.criteria)
                p = dict.fromkeys(names, 0.0) | {names[0]: self.probability, names[-1]: 1 - self.probability}
                best = max(p, key=p.get)
                answers[key] = {"type": "choice", "choice": best, "probabilities": p, "confidence": p[best]}
        return ClassifierResponse(model=self.model, answers=answers)


SEEN: list[Any] = []


async def both(agent, value, config=None):
    """Results of the sync and of the async way."""
    yield agent().invoke(value, config)
    yield await agent().ainvoke(value, config)


# ------------------------------------------------------------------------------------ which model


TASK = {"messages": [HumanMessage("prove the theorem")]}


def gated(task=TASK, **arguments):
    def make():
        small, large, own, spare = says("small"), says("large"), says("own"), says("spare")
        more = {**arguments}
        if more.get("default") == "spare":
            more["default"] = spare
        gate = HeadgateModelGateMiddleware(
            choices={"small": ModelChoice(small, "hello thanks"), "large": ModelChoice(large, "prove theorem")},
            **{"classifier": HeadgateDecisionModel(scorer=ToyScorer()), "threshold": 0.5, **more},
        )
        return create_agent(own, middleware=[gate], checkpointer=InMemorySaver())

    return make


async def test_a_sure_choice_is_followed() -> None:
    async for out in both(gated(), TASK, THREAD):
        assert out["messages"][-1].content == "large"
        decision = out["headgate_decisions"]["model_route"]
        assert json.loads(json.dumps(decision)) == decision
        assert (decision["choice"], decision["likeliest"], decision["abstained"]) == ("large", "large", False)
        assert decision["confidence"] > 0.9
        assert set(decision["probabilities"]) == {"small", "large"}


async def test_an_unsure_one_stays_with_the_default() -> None:
    unsure = {"messages": [HumanMessage("what is for lunch?")]}
    for default, said in ((None, "own"), ("spare", "spare")):
        async for out in both(gated(default=default), unsure, THREAD):
            assert out["messages"][-1].content == said
            decision = out["headgate_decisions"]["model_route"]
            assert (decision["choice"], decision["abstained"]) == (None, True)


async def test_an_unsure_one_raises_or_asks() -> None:
    unsure = {"messages": [HumanMessage("what is for lunch?")]}
    agent = gated(on_abstain="raise")
    with pytest.raises(AbstainedError, match=r"confidence 0\.\d\d; expected at least 0\.50") as caught:
        agent().invoke(unsure, THREAD)
    assert caught.value.decision["abstained"]
    with pytest.raises(AbstainedError):
        await agent().ainvoke(unsure, THREAD)
    asking = gated(on_abstain="ask")()
    (interrupt,) = asking.invoke(unsure, THREAD)["__interrupt__"]
    assert interrupt.value["type"] == "model_route"
    assert interrupt.value["choices"] == {"small": "hello thanks", "large": "prove theorem"}
    out = asking.invoke(Command(resume="small"), THREAD)
    assert out["messages"][-1].content == "small"
    assert out["headgate_decisions"]["model_route"]["choice"] == "small"
    asking = gated(on_abstain="ask")()
    await asking.ainvoke(unsure, THREAD)
    for wrong in ("huge", {"choice": "small"}):  # asked again
        (interrupt,) = (await asking.ainvoke(Command(resume={interrupt_id(asking): wrong}), THREAD))["__interrupt__"]
        assert interrupt.value["error"] == f"{wrong!r} came; expected one of ['small', 'large']."
    out = await asking.ainvoke(Command(resume="large"), THREAD)
    assert out["headgate_decisions"]["model_route"]["choice"] == "large"


def interrupt_id(agent) -> str:
    """Of what the run waits for: a mapping alone would be taken for answers by it."""
    ((waiting,),) = (task.interrupts for task in agent.get_state(THREAD).tasks)
    return waiting.id


async def test_any_decision_model_will_do_and_its_failure_ends_the_run() -> None:
    async for out in both(gated(classifier=Sure(probability=0.7), threshold=0.7), TASK, THREAD):
        assert out["messages"][-1].content == "small"
    async for out in both(gated(classifier=Sure(probability=0.7), threshold=0.71), TASK, THREAD):
        assert out["messages"][-1].content == "own"
    with pytest.raises(RuntimeError, match="no answer"):
        gated(classifier=Sure(broken=True))().invoke(TASK, THREAD)
    with pytest.raises(RuntimeError, match="no answer"):
        await gated(classifier=Sure(broken=True))().ainvoke(TASK, THREAD)
    with pytest.raises(ValueError, match="no human message"):
        gated()().invoke({"messages": [AIMessage("hi")]}, THREAD)


def test_two_gates_of_a_class_stand_side_by_side() -> None:
    def gate(question):
        return HeadgateModelGateMiddleware(
            choices={"a": ModelChoice(says("a"), "theorem")}, classifier=Sure(probability=1.0), threshold=0.5,
            question=question,
        )  # fmt: skip

    out = create_agent(says("own"), middleware=[gate("one"), gate("two")]).invoke(TASK)
    assert set(out["headgate_decisions"]) == {"one", "two"}


@pytest.mark.parametrize(
    ("wrong", "said"), [({"threshold": 2}, "threshold is 2"), ({"on_abstain": "guess"}, "on_abstain is 'guess'")]
)
def test_bad_arguments_of_the_model_gate(wrong, said) -> None:
    with pytest.raises(ValueError, match=said):
        gated(**wrong)()
    with pytest.raises(ValueError, match="choices is empty"):
        HeadgateModelGateMiddleware(choices={}, classifier=Sure(), threshold=0.5)


# ------------------------------------------------------------------------------------ which tool call


CLEAN = {"messages": [HumanMessage("clean up")]}


def tooled(call, probability=0.0, **arguments):
    def make():
        gate = HeadgateToolGateMiddleware(
            **{"classifier": Sure(probability=probability), "threshold": 0.8, "abstain_from": 0.4, **arguments}
        )
        return create_agent(says(call, "done"), tools=TOOLS, middleware=[gate], checkpointer=InMemorySaver())

    return make


def result(out) -> tuple[str, str]:
    message = next(m for m in out["messages"] if isinstance(m, ToolMessage))
    return message.status, message.response_metadata["headgate_decisions"]["is_risky"]["action"]


@pytest.mark.parametrize(
    ("probability", "on_abstain", "status", "action", "ran"),
    [
        (0.39, "ask", "success", "allowed", True),
        (0.8, "ask", "error", "blocked", False),
        (0.4, "block", "error", "blocked, unsure", False),
        (0.79, "allow", "success", "allowed, unsure", True),
    ],
)
async def test_the_band_between_the_thresholds(probability, on_abstain, status, action, ran) -> None:
    agent = tooled(calls("delete_file", path="/x"), probability, on_abstain=on_abstain)
    async for out in both(agent, CLEAN, THREAD):
        assert result(out) == (status, action)
        assert ["/x"] * ran == RAN
        assert out["messages"][-1].content == "done"
        RAN.clear()


@pytest.mark.parametrize(
    ("answer", "status", "action"),
    [
        ({"type": "approve"}, "success", "approved"),
        ({"type": "reject"}, "error", "rejected"),
        ({"type": "reject", "message": "not that one"}, "error", "rejected"),
    ],
)
async def test_a_person_is_asked(answer, status, action) -> None:
    for sync in (True, False):
        agent = tooled(calls("delete_file", path="/x"), 0.5)()
        out = agent.invoke(CLEAN, THREAD) if sync else await agent.ainvoke(CLEAN, THREAD)
        (interrupt,) = out["__interrupt__"]
        assert RAN == []
        assert {k: interrupt.value[k] for k in ("type", "tool_call_id", "name", "args")} == {
            "type": "tool_approval", "tool_call_id": "delete_file-1", "name": "delete_file", "args": {"path": "/x"},
        }  # fmt: skip
        resumed = Command(resume=answer)
        out = agent.invoke(resumed, THREAD) if sync else await agent.ainvoke(resumed, THREAD)
        assert result(out) == (status, action)
        assert ["/x"] * (status == "success") == RAN
        text = next(m.content for m in out["messages"] if isinstance(m, ToolMessage))
        assert answer.get("message", "") in text
        RAN.clear()


@pytest.mark.parametrize("answer", ["approve", True, {"type": "edit"}, {"decisions": [{"type": "approve"}]}])
def test_any_other_answer_runs_nothing(answer) -> None:
    agent = tooled(calls("delete_file", path="/x"), 0.5)()
    agent.invoke(CLEAN, THREAD)
    (interrupt,) = agent.invoke(Command(resume=answer), THREAD)["__interrupt__"]
    assert interrupt.value["error"].startswith(f"{answer!r} came; expected")
    assert RAN == []
    assert result(agent.invoke(Command(resume={"type": "approve"}), THREAD)) == ("success", "approved")  # asked again
    assert RAN == ["/x"]
    RAN.clear()


async def test_a_classifier_that_fails_lets_no_call_through() -> None:
    agent = tooled(calls("delete_file", path="/x"), classifier=Sure(broken=True))
    with pytest.raises(RuntimeError, match="no answer"):
        agent().invoke(CLEAN, THREAD)
    with pytest.raises(RuntimeError, match="no answer"):
        await agent().ainvoke(CLEAN, THREAD)
    assert RAN == []


def test_only_the_named_tools_are_judged() -> None:
    for tools in (["delete_file"], [delete_file]):
        out = tooled(calls("read_file", path="/x"), 1.0, tools=tools)().invoke(CLEAN, THREAD)
        assert RAN == ["/x"]
        message = next(m for m in out["messages"] if isinstance(m, ToolMessage))
        assert message.response_metadata == {}
        RAN.clear()
    assert result(tooled(calls("read_file", path="/x"), 1.0)().invoke(CLEAN, THREAD)) == ("error", "blocked")


def test_the_decision_is_noted_in_commands_too() -> None:
    out = tooled(calls("note", text="x"), 0.1)().invoke(CLEAN, THREAD)
    assert result(out) == ("success", "allowed")
    noted = next(m for m in out["messages"] if isinstance(m, ToolMessage)).response_metadata
    assert json.loads(json.dumps(noted)) == noted


async def test_a_list_of_commands_comes_through_with_the_decision() -> None:
    @tool
    def several(tool_call_id: Annotated[str, InjectedToolCallId]) -> list:
        """Say two things."""
        done = Command(update={"messages": [ToolMessage("done", tool_call_id=tool_call_id)]})
        return [done, Command(update={"messages": [HumanMessage("more")]})]

    def agent():
        gate = HeadgateToolGateMiddleware(classifier=Sure(), threshold=0.9)
        return create_agent(says(calls("several"), "end"), tools=[several], middleware=[gate])

    async for out in both(agent, CLEAN):
        assert [m.content for m in out["messages"][-3:]] == ["done", "more", "end"]
        assert result(out) == ("success", "allowed")


def test_two_tool_gates_both_note_what_they_decided() -> None:
    gates = [HeadgateToolGateMiddleware(classifier=Sure(), threshold=0.5, question=name) for name in ("one", "two")]
    model = says(calls("read_file", path="/x"), "done")
    out = create_agent(model, tools=TOOLS, middleware=gates).invoke(CLEAN)
    message = next(m for m in out["messages"] if isinstance(m, ToolMessage))
    assert set(message.response_metadata["headgate_decisions"]) == {"one", "two"}


def test_the_state_that_is_judged_is_the_call_as_it_runs() -> None:
    SEEN.clear()
    tooled(calls("delete_file", path="/x"), 0.0)().invoke(CLEAN, THREAD)
    state, questions = SEEN[-1]
    assert state["tool_call"] == {"name": "delete_file", "args": {"path": "/x"}}
    assert state["tool_description"].startswith("Delete a file permanently.")
    assert [m.type for m in state["messages"]] == ["human", "ai"]
    assert list(questions) == ["is_risky"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threshold": -1}, "threshold is -1"),
        ({"threshold": True}, "threshold is True"),
        ({"abstain_from": 0.9}, "abstain_from is 0.9 and threshold 0.8"),
        ({"on_abstain": "guess"}, "on_abstain is 'guess'"),
        ({"tools": []}, r"tools is \[\]"),
        ({"tools": "delete_file"}, "tools is 'delete_file'"),
    ],
)
def test_bad_arguments_of_the_tool_gate(wrong, said) -> None:
    with pytest.raises(ValueError, match=said):
        tooled(calls("read_file", path="/x"), **wrong)()
    assert HeadgateToolGateMiddleware(classifier=Sure(), threshold=0.5).name == "HeadgateToolGateMiddleware[is_risky]"


# ------------------------------------------------------------------------------------ the host's own middlewares


def classifiers(**arguments):
    yield HeadgateDecisionModel(scorer=ToyScorer(), **arguments)
    if MINI.is_file():
        yield HeadgateDecisionModel(**arguments)


async def test_the_stock_model_router() -> None:
    for classifier in classifiers():

        def agent(classifier=classifier):
            router = ModelRouterMiddleware(
                choices={"small": ModelChoice(says("small"), "small talk and greetings"),
                         "large": ModelChoice(says("large"), "mathematics and proofs")},
                instructions="Which model suits the task?",
                classifier=classifier,
            )  # fmt: skip
            return create_agent(says("own"), middleware=[router])

        async for out in both(agent, {"messages": [HumanMessage("I want mathematics and proofs of a theorem")]}):
            assert out["messages"][-1].content == "large"
            assert out["model_route"].choice == "large"


@pytest.mark.parametrize("said", ["nothing", "hypotheses", "criteria"])
async def test_the_stock_auto_mode(said) -> None:
    criteria = NoulCriteria(**CONCRETE["is_risky"]) if said == "criteria" else None
    for classifier in classifiers(**({"hypotheses": CONCRETE} if said == "hypotheses" else {})):
        for call, allowed in ((calls("delete_file", path="/x"), False), (calls("read_file", path="/y"), True)):

            def agent(classifier=classifier, call=call):
                gate = AutoModeMiddleware(tools=TOOLS, criteria=criteria, classifier=classifier)
                return create_agent(says(call, "done"), tools=TOOLS, middleware=[gate])

            # The toy knows words alone, and mini what they mean.
            words = ("reads or searches", "Have a look") if allowed else ("deletes or sends", "Clean up")
            task = {"messages": [HumanMessage(words[classifier.scorer is None])]}
            async for out in both(agent, task):
                assert bool(RAN) is allowed
                assert next(m for m in out["messages"] if isinstance(m, ToolMessage)).status == (
                    "success" if allowed else "error"
                )
                RAN.clear()


@pytest.mark.skipif(not MINI.is_file(), reason="this checkout has no mini")
async def test_the_tool_gate_with_mini() -> None:
    def agent(call):
        def make():
            gate = HeadgateToolGateMiddleware(classifier=HeadgateDecisionModel(), threshold=0.6)
            return create_agent(says(call, "done"), tools=TOOLS, middleware=[gate])

        return make

    async for out in both(agent(calls("delete_file", path="thesis.tex")), CLEAN):
        assert result(out) == ("error", "blocked")
    async for out in both(agent(calls("read_file", path="notes.txt")), {"messages": [HumanMessage("What is in it?")]}):
        assert result(out) == ("success", "allowed")
