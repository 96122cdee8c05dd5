"""The contract of every adapter, over the middlewares."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("langchain.agents")

from langchain.agents import create_agent
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tracers.context import collect_runs
from langgraph.prebuilt.tool_node import ToolCallRequest
from tests.chatting import TOOLS, Words
from tests.contract import Case, Contract
from tests.contract.langchain import REFUSAL, saved

from headgate import Guard, Router, StreamGuard
from headgate.sentences import sentences
from langchain_headgate import HeadgateStreamGuard, agents
from langchain_headgate.agents import (
    GuardedChatModel,
    HeadgateInputGuardMiddleware,
    HeadgateOutputGuardMiddleware,
    HeadgateToolGuardMiddleware,
    HeadgateToolResultGuardMiddleware,
    HeadgateToolSelectorMiddleware,
)

FORBID = (({"forbid": None}, "forbid"), ({"forbid": []}, "forbid"), ({"unreadable": -1}, "unreadable"))
TEXTS = ("ham and eggs", "a spam", "eggs")


def request(words: str) -> ToolCallRequest:
    call = {"name": "search", "args": {"query": words}, "id": "1", "type": "tool_call"}
    return ToolCallRequest(tool_call=call, tool=None, state={"messages": []}, runtime=None)


def executed(given: ToolCallRequest) -> ToolMessage:
    return ToolMessage(given.tool_call["args"]["query"], tool_call_id="1", id="2")


async def aexecuted(given: ToolCallRequest) -> ToolMessage:
    return executed(given)


def asked(words: str) -> ModelRequest:
    return ModelRequest(model=Words(said=[]), messages=[HumanMessage(words)], tools=list(TOOLS))


def answered(given: ModelRequest) -> ModelResponse:
    return ModelResponse([AIMessage(", ".join(t.name for t in given.tools), id="1")])


async def aanswered(given: ModelRequest) -> ModelResponse:
    return answered(given)


def chat(adapter: Any, words: str) -> Any:
    return create_agent(Words(said=[AIMessage(words)]), [], middleware=[adapter])


def guard(cls: type, **more: Any) -> Case:
    return Case(
        cls,
        scalars={"forbid": ["spam"]},
        ready="guard",
        **{"noun": lambda scorer: Guard(scorer, ["spam"], 0.5), **more},
    )


CASES = [
    guard(
        HeadgateInputGuardMiddleware,
        inputs=lambda: [{"messages": [HumanMessage(text, id="1")]} for text in TEXTS],
        call=lambda adapter, state: adapter.before_agent(state, None),
        acall=lambda adapter, state: adapter.abefore_agent(state, None),
        nothing=lambda: ({"messages": []}, None),
        wrong=(*FORBID, ({"turns": 0}, "turns"), ({"on_block": "ignore"}, "on_block")),
    ),
    guard(
        HeadgateOutputGuardMiddleware,
        noun=lambda scorer: StreamGuard(Guard(scorer, ["spam"], 0.5), sentences("en")),
        inputs=lambda: list(TEXTS),
        call=lambda adapter, words: chat(adapter, words).invoke({"messages": [("user", "hi")]}),
        acall=lambda adapter, words: chat(adapter, words).ainvoke({"messages": [("user", "hi")]}),
        plain=lambda result: ([m.text for m in result["messages"]], result["guard_verdicts"]),
        wrong=(*FORBID, ({"on_broken": "ignore"}, "on_broken"), ({"context": 0}, "context")),
    ),
    *(
        guard(
            cls,
            inputs=lambda: [request(text) for text in TEXTS],
            call=lambda adapter, given: adapter.wrap_tool_call(given, executed),
            acall=lambda adapter, given: adapter.awrap_tool_call(given, aexecuted),
            wrong=(*FORBID, ({"tools": []}, "tools"), ({"on_block": "ignore"}, "on_block")),
        )
        for cls in (HeadgateToolGuardMiddleware, HeadgateToolResultGuardMiddleware)
    ),
    Case(
        HeadgateToolSelectorMiddleware,
        scalars={"max_tools": 1},
        ready="router",
        noun=lambda scorer: Router(
            scorer, {t.name: f"{t.name}: {t.description}" for t in TOOLS}, 0.0, multi=True, top_k=1
        ),
        inputs=lambda: [asked("search the web"), asked("delete a database"), asked("hi")],
        call=lambda adapter, given: adapter.wrap_model_call(given, answered),
        acall=lambda adapter, given: adapter.awrap_model_call(given, aanswered),
        nothing=lambda: (asked(" "), "weather, delete_data, search"),
        plain=lambda result: result.model_response.result[0].text,
        wrong=(({"max_tools": 0}, "max_tools"), ({"max_tools": None}, "max_tools"), ({"threshold": 2}, "threshold")),
    ),
]


@contextmanager
def heard() -> Iterator[list[str]]:
    """Hooks have no run of their own: the host's nodes do."""
    yield []


@contextmanager
def runs() -> Iterator[list[str]]:
    """Names of runs."""
    names: list[str] = []
    with collect_runs() as found:
        yield names
    names.extend(run.name if run.error is None else f"{run.name} failed" for run in found.traced_runs)


@pytest.mark.parametrize("case", CASES, ids=str)
class TestContract(Contract):
    saved, refusal = staticmethod(saved), REFUSAL
    heard = staticmethod(heard)


class TestGuardedChatModel(Contract):
    """Its guard is an adapter itself."""

    saved, refusal = staticmethod(saved), REFUSAL
    heard = staticmethod(runs)
    # It names no model of its own: its guard does, and is held to these.
    test_the_model_is_loaded_at_first_use_with_what_was_said = None
    test_noun_and_scalars_at_once_are_refused = None
    test_a_ready_noun_is_shared_by_copies_and_never_lost_in_a_pickle = None

    @pytest.fixture
    def case(self) -> Case:
        return Case(
            GuardedChatModel,
            scalars={"guard": HeadgateStreamGuard(forbid=["spam"])},
            ready="guard",
            noun=lambda scorer: HeadgateStreamGuard(guard=StreamGuard(Guard(scorer, ["spam"], 0.5), sentences("en"))),
            beside={"inner": FakeListChatModel(responses=["Ham and eggs. A spam. More ham."])},
            inputs=lambda: ["what is there?"],
            call=lambda adapter, given: adapter.invoke(given),
            acall=lambda adapter, given: adapter.ainvoke(given),
            plain=lambda found: found.content,
            fired=("FakeListChatModel",),
            hands=True,
            kept=False,  # nor is the model inside
            wrong=(({"guard": None}, "guard"), ({"inner": 3}, "inner"), ({"key": 3}, "key")),
        )


def test_every_middleware_is_held_to_the_contract() -> None:
    assert {n for n in agents.__all__ if n.endswith("Middleware")} == {case.cls.__name__ for case in CASES}


def test_the_package_alone_needs_no_langchain() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['langchain'] = None\n"
        "import langchain_headgate\n"
        "assert 'langgraph' not in sys.modules\n"
        "try:\n    import langchain_headgate.agents\n"
        "except ImportError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'run: pip install "langchain-headgate[agents]"' in said
