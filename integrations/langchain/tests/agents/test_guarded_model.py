"""Nothing that the guard holds back is seen anywhere, and the model really stops."""

import asyncio
import warnings
from typing import Any

import pytest

pytest.importorskip("langchain.agents")

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import collect_runs
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel
from tests.chatting import ANSWER, SECRET, TOOLS, Words, call, stream_guard

from langchain_headgate.agents import GuardedChatModel, HeadgateOutputGuardMiddleware
from langchain_headgate.streams import HeadgateStreamGuard

REFUSAL = "I can't help with that."
SHOWN = "Hello there, my friend. It is a fine day. "
GUARDED = SHOWN + REFUSAL
# The guard needs the word after the sentence to know that it has ended.
UPSTREAM = len(ANSWER[: ANSWER.index("Nobody")].split()) + 1
HUMAN = {"messages": [HumanMessage("hi")]}


def words(*said: str | AIMessage) -> Words:
    return Words(said=[AIMessage(s) if isinstance(s, str) else s for s in said or [ANSWER]])


def rules(*names: str, **more: Any) -> HeadgateStreamGuard:
    return HeadgateStreamGuard(guard=stream_guard(*names, **more), refusal=REFUSAL)


def guarded(model: Words, *names: str, **more: Any) -> GuardedChatModel:
    return GuardedChatModel(inner=model, guard=rules(*names, **more))


def agent(model: Words, *names: str, tools: Any = (), **more: Any) -> Any:
    middleware = HeadgateOutputGuardMiddleware(guard=stream_guard(*names))
    return create_agent(model, list(tools), middleware=[middleware], **more)


def verdict(message: AIMessage, key: str = "GuardedChatModel") -> dict[str, Any]:
    return message.response_metadata["guard_verdicts"][key]


def text(chunks: list[Any]) -> str:
    return "".join(chunk.text for chunk in chunks)


class Ears(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.ends: list[str] = []

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token if isinstance(token, str) else str(token))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.ends.append(response.generations[0][0].text)


# ------------------------------------------------------------------------------ the model alone


def test_a_stream_is_cut_and_the_model_stops() -> None:
    model = words()
    assert text(list(guarded(model).stream("hi"))) == GUARDED
    assert len(model.wrote) == UPSTREAM < len(ANSWER.split())
    assert model.ended == ["sync"]


async def test_an_async_stream_is_cut_and_the_model_stops() -> None:
    model = words()
    assert text([chunk async for chunk in guarded(model).astream("hi")]) == GUARDED
    assert len(model.wrote) == UPSTREAM
    assert model.ended == ["async"]


async def test_whole_messages_are_cut_in_the_same_place() -> None:
    model = words(AIMessage(ANSWER, usage_metadata={"input_tokens": 3, "output_tokens": 30, "total_tokens": 33}))
    streamed = None
    for chunk in guarded(words()).stream("hi"):
        streamed = chunk if streamed is None else streamed + chunk
    for message in (guarded(model).invoke("hi"), await guarded(model).ainvoke("hi")):
        assert type(message) is AIMessage
        assert message.text == GUARDED == streamed.text
        assert verdict(message)["action"] == "halt"
        assert verdict(message) == verdict(streamed)
        assert message.usage_metadata["total_tokens"] == 33  # it was paid for
        (event,) = verdict(message)["events"]
        assert event["verdict"]["broken"] == ["bomb"]
        assert "cellar" not in str(message)


async def test_what_breaks_no_rule_comes_out_as_it_went_in() -> None:
    said = AIMessage(
        "All is well. Good night.", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    )
    model = words(said)
    chunks = list(guarded(model).stream("hi"))
    plain = list(words(said).stream("hi"))
    whole, expected = sum(chunks[1:], chunks[0]), sum(plain[1:], plain[0])
    assert whole.content == expected.content
    assert whole.usage_metadata == expected.usage_metadata
    assert verdict(whole) == {"action": "release", "events": []}
    rest = {k: v for k, v in whole.response_metadata.items() if k != "guard_verdicts"}
    assert rest == expected.response_metadata
    assert chunks[-1].chunk_position == "last"
    assert guarded(words(said)).invoke("hi").usage_metadata == said.usage_metadata


def test_sentences_are_redacted_and_the_model_goes_on() -> None:
    model = words()
    message = guarded(model, on_broken="redact").invoke("hi")
    assert message.text == ANSWER.replace("The bomb is hidden in the cellar.", "[removed]")
    assert verdict(message)["action"] == "redact"
    assert text(list(guarded(model, on_broken="redact").stream("hi"))) == message.text


def test_logprobs_spell_nothing_out() -> None:
    spelled = [{"token": word, "logprob": 0.0} for word in ANSWER.split()]
    said = AIMessage(ANSWER, response_metadata={"logprobs": {"content": spelled}})
    for on_broken in ("halt", "redact"):
        chunks = list(guarded(words(said), on_broken=on_broken).stream("hi"))
        assert not any("cellar" in str(chunk) for chunk in chunks)
        assert "cellar" not in str(guarded(words(said), on_broken=on_broken).invoke("hi"))
    chunks = list(guarded(words(said), "dragon").stream("hi"))
    whole = sum(chunks[1:], chunks[0])
    assert whole.response_metadata["logprobs"] == {"content": spelled}
    assert guarded(words(said), "dragon").invoke("hi").response_metadata["logprobs"] == {"content": spelled}


def test_reasoning_is_judged() -> None:
    blocks = [{"type": "thinking", "thinking": "The bomb. Hm.", "signature": "x"}, {"type": "text", "text": "Fine."}]
    message = guarded(words(AIMessage(blocks))).invoke("hi")
    assert "bomb." not in str(message.content)
    assert verdict(message)["action"] == "halt"


def test_what_a_halted_message_cost_is_kept() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    said = AIMessage("Fine.", additional_kwargs={"reasoning_content": "The bomb."}, usage_metadata=usage)
    message = guarded(words(said)).invoke("hi")
    assert (message.text, message.usage_metadata) == (REFUSAL, usage)
    assert "bomb." not in str(message)


async def test_a_consumer_that_leaves_stops_the_model() -> None:
    model = words("One is here. Two is here. Three is here. Four is here.")
    stream = guarded(model).stream("hi")
    next(stream)
    wrote = len(model.wrote)
    stream.close()
    assert (len(model.wrote), model.ended) == (wrote, ["sync"])
    model = words("One is here. Two is here. Three is here. Four is here.")
    astream = guarded(model).astream("hi")
    await anext(astream)
    wrote = len(model.wrote)
    await astream.aclose()
    for _ in range(10):  # the host leaves closing to the loop
        await asyncio.sleep(0)
    assert (len(model.wrote), model.ended) == (wrote, ["async"])


async def test_a_broken_guard_shows_nothing() -> None:
    class Broken:
        joint, labels, fingerprint = False, None, "broken"

        def score(self, texts: Any, labels: Any) -> Any:
            raise OSError("the device is gone")

    shown: list[Any] = []
    model = guarded(words(), scorer=Broken())
    with pytest.raises(OSError, match="device is gone"):
        shown.extend(model.stream("hi"))
    with pytest.raises(OSError, match="device is gone"):
        shown.extend([chunk async for chunk in model.astream("hi")])
    with pytest.raises(OSError, match="device is gone"):
        await model.ainvoke("hi")
    assert shown == []


# ------------------------------------------------------------------------------ who else hears


async def test_no_handler_hears_what_is_held_back() -> None:
    own, given = Ears(), Ears()
    model = words()
    model.callbacks = [own]
    guard = guarded(model)
    assert guard.callbacks == [own]
    assert model.callbacks == [own]  # the caller's model is as it was
    config = {"callbacks": [given]}
    guard.invoke("hi", config)
    list(guard.stream("hi", config))
    await guard.ainvoke("hi", config)
    [chunk async for chunk in guard.astream("hi", config)]
    for ears in (own, given):
        assert "cellar" not in "".join(ears.tokens + ears.ends)
        assert ears.ends == [GUARDED] * 4


def test_a_bound_model_with_handlers_is_no_way_round() -> None:
    own = Ears()
    with pytest.raises(ValueError, match=r"inner is a bound model.*bind the guarded one"):
        GuardedChatModel(inner=words().with_config(callbacks=[own]), guard=rules())
    assert text(list(guarded(words()).with_config(callbacks=[own]).stream("hi"))) == GUARDED
    assert "cellar" not in "".join(own.tokens + own.ends)


async def test_usage_is_counted_once_and_one_run_is_traced() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    said = AIMessage("All is well.", usage_metadata=usage, response_metadata={"model_name": "words-1"})
    with get_usage_metadata_callback() as seen, collect_runs() as runs:
        guarded(words(said)).invoke("hi")
    assert seen.usage_metadata["words-1"] == usage
    with get_usage_metadata_callback() as seen:
        list(guarded(words(said)).stream("hi"))
        [chunk async for chunk in guarded(words(said)).astream("hi")]
        await guarded(words(said)).ainvoke("hi")
    assert seen.usage_metadata["words-1"]["total_tokens"] == 9
    (run,) = runs.traced_runs
    assert (run.name, run.child_runs) == ("Words", [])


def test_hosts_are_told_what_the_inner_model_is() -> None:
    model = Words(said=[AIMessage("x")], tags=["t"], metadata={"m": 1}, profile={"structured_output": True})
    guard = guarded(model)
    assert guard.profile == {"structured_output": True}
    assert (guard.tags, guard.metadata["m"], guard.get_name()) == (["t"], 1, "Words")
    assert guard._get_ls_params() == model._get_ls_params()
    assert guard.model_name is None
    object.__setattr__(model, "__dict__", {**model.__dict__, "model_name": "words-1"})
    assert guarded(model).model_name == "words-1"


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(TypeError, match=r"the inner model gave str; expected AIMessage.*put parsers behind it"):
        GuardedChatModel(inner=RunnableLambda(lambda _: "x"), guard=rules()).invoke("hi")
    with pytest.raises(TypeError, match="the inner model gave str"):
        list(GuardedChatModel(inner=RunnableLambda(lambda _: "x"), guard=rules()).stream("hi"))
    with pytest.raises(ValueError, match="no_such"):
        GuardedChatModel(inner=words(), guard=rules(), no_such=1)


# ------------------------------------------------------------------------------ tools


def test_bound_tools_settings_and_stop_words_reach_the_model() -> None:
    model = words(call("weather", city="Rome"))
    bound = guarded(model).bind_tools(TOOLS, tool_choice="any")
    message = bound.invoke("hi", stop=["."])
    assert message.tool_calls == call("weather", city="Rome").tool_calls
    assert model.calls[-1]["tools"] == ["weather", "delete_data", "search"]
    assert (model.calls[-1]["tool_choice"], model.calls[-1]["stop"]) == ("any", ["."])
    chunks = list(bound.stream("hi"))
    assert sum(chunks[1:], chunks[0]).tool_calls == message.tool_calls
    assert model.calls[-1]["tools"] == ["weather", "delete_data", "search"]


async def test_arguments_of_tools_are_judged_whole() -> None:
    bad = call("search", query="how to build a bomb at home")
    for shown in (
        [guarded(words(bad)).invoke("hi")],
        [await guarded(words(bad)).ainvoke("hi")],
        list(guarded(words(bad)).stream("hi")),
        [chunk async for chunk in guarded(words(bad)).astream("hi")],
    ):
        whole = sum(shown[1:], shown[0]) if len(shown) > 1 else shown[0]
        assert whole.tool_calls == []
        assert whole.text == REFUSAL
        assert verdict(whole)["action"] == "halt"
        assert verdict(whole)["events"][0]["tool_call"] == "1"
        assert not any("home" in str(chunk) for chunk in shown)
    noted = guarded(words(bad), on_broken="annotate").invoke("hi")
    assert noted.tool_calls == bad.tool_calls
    assert verdict(noted)["action"] == "annotate"
    assert guarded(words(bad), on_broken="redact").invoke("hi").tool_calls == []


def test_calls_that_dont_parse_are_judged_too() -> None:
    broken = {"name": "search", "args": '{"query": "bomb', "id": "1", "error": None, "type": "invalid_tool_call"}
    for said in (
        AIMessage("", invalid_tool_calls=[broken]),
        AIMessage("", additional_kwargs={"function_call": {"name": "search", "arguments": '{"query": "bomb"}'}}),
    ):
        message = guarded(words(said)).invoke("hi")
        assert verdict(message)["action"] == "halt"
        assert (message.invalid_tool_calls, message.additional_kwargs) == ([], {})


def test_a_halted_text_calls_no_tool() -> None:
    said = AIMessage(ANSWER, tool_calls=call("weather", city="Rome").tool_calls)
    assert guarded(words(said)).invoke("hi").tool_calls == []
    assert not any(chunk.tool_call_chunks for chunk in guarded(words(said)).stream("hi"))


class Joke(BaseModel):
    """A joke."""

    setup: str
    punch: str


def test_structured_output() -> None:
    good, bad = call("Joke", setup="knock", punch="who"), call("Joke", setup="the bomb", punch="boom")
    assert guarded(words(good)).with_structured_output(Joke).invoke("hi") == Joke(setup="knock", punch="who")
    raw = guarded(words(good)).with_structured_output(Joke, include_raw=True).invoke("hi")
    assert raw["parsed"] == Joke(setup="knock", punch="who")
    assert verdict(raw["raw"])["action"] == "release"
    assert guarded(words(bad)).with_structured_output(Joke).invoke("hi") is None
    withheld = guarded(words(bad)).with_structured_output(Joke, include_raw=True).invoke("hi")
    assert "boom" not in str(withheld)


# ------------------------------------------------------------------------------ in an agent


def test_every_surface_of_an_agent() -> None:
    model = words()
    made = agent(model)
    result = made.invoke(HUMAN)
    assert result["messages"][-1].text == GUARDED
    model.wrote.clear()
    assert text([m for m, _ in made.stream(HUMAN, stream_mode="messages")]) == GUARDED
    assert len(model.wrote) == UPSTREAM
    for mode in ("updates", "values", "debug", "custom", "tasks", "checkpoints"):
        assert "cellar" not in str(list(made.stream(HUMAN, stream_mode=mode)))
    assert "cellar" not in str(list(made.stream(HUMAN, stream_mode=["messages", "updates", "values"], subgraphs=True)))


async def test_every_surface_of_an_async_agent() -> None:
    model = words()
    made = agent(model)
    assert (await made.ainvoke(HUMAN))["messages"][-1].text == GUARDED
    model.wrote.clear()
    assert text([m async for m, _ in made.astream(HUMAN, stream_mode="messages")]) == GUARDED
    assert len(model.wrote) == UPSTREAM
    for mode in ("updates", "values", "debug", "custom"):
        assert "cellar" not in str([part async for part in made.astream(HUMAN, stream_mode=mode)])
    model.wrote.clear()
    events = [event async for event in made.astream_events(HUMAN, version="v2")]
    assert len(model.wrote) == UPSTREAM
    assert text([e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]) == GUARDED
    assert "cellar" not in str(events)
    assert {e["name"] for e in events if e["event"] == "on_chat_model_start"} == {"Words"}


async def test_the_newest_event_stream() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in beta
        model = words()
        run = agent(model).stream_events(HUMAN, version="v3")
        seen = ["".join(message.text) for message in run.messages]
        assert seen == [GUARDED]
        assert run.output["messages"][-1].text == GUARDED
        assert len(model.wrote) == UPSTREAM
        assert "cellar" not in str(list(agent(words()).stream_events(HUMAN, version="v3")))
        model = words()
        arun = await agent(model).astream_events(HUMAN, version="v3")
        said = [[piece async for piece in message.text] async for message in arun.messages]
        assert ["".join(pieces) for pieces in said] == [GUARDED]
        assert len(model.wrote) == UPSTREAM
        assert text_of(guarded(words()).stream_events("hi", version="v3")) == GUARDED


def text_of(stream: Any) -> str:
    return "".join(stream.text)


def test_the_verdict_is_in_the_state() -> None:
    made = agent(words(), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    result = made.invoke(HUMAN, config)
    name = HeadgateOutputGuardMiddleware(guard=stream_guard()).name
    assert name == "HeadgateOutputGuardMiddleware[bomb]"
    assert result["guard_verdicts"][name]["action"] == "halt"
    assert made.get_state(config).values["guard_verdicts"] == result["guard_verdicts"]
    fine = agent(words("All is well.")).invoke(HUMAN)
    assert fine["guard_verdicts"] == {name: {"action": "release", "events": []}}


async def test_two_guards_side_by_side() -> None:
    model = words()
    both = [
        HeadgateOutputGuardMiddleware(guard=stream_guard("bomb")),
        HeadgateOutputGuardMiddleware(guard=stream_guard("friend", on_broken="redact")),
    ]
    made = create_agent(model, [], middleware=both)
    for result in (made.invoke(HUMAN), await made.ainvoke(HUMAN)):
        assert result["messages"][-1].text == f"[removed] It is a fine day. {REFUSAL}"
        found = {name: v["action"] for name, v in result["guard_verdicts"].items()}
        assert [found[m.name] for m in both] == ["halt", "redact"]
    model.wrote.clear()
    assert text([m for m, _ in made.stream(HUMAN, stream_mode="messages")]) == f"[removed] It is a fine day. {REFUSAL}"
    assert len(model.wrote) == UPSTREAM


async def test_the_loop_ends_where_a_call_is_refused_and_goes_on_where_it_isnt() -> None:
    for awaited in (False, True):
        bad = agent(words(call("delete_data", base="the bomb"), "not reached"), tools=TOOLS)
        result = await bad.ainvoke(HUMAN) if awaited else bad.invoke(HUMAN)
        assert [m.type for m in result["messages"]] == ["human", "ai"]
        assert result["messages"][-1].text == REFUSAL
    good = agent(words(call("weather", city="Rome"), "It is sunny."), tools=TOOLS)
    assert [m.text for m in good.invoke(HUMAN)["messages"]] == ["hi", "", "sunny in Rome", "It is sunny."]


def test_structured_answers_of_agents() -> None:
    good, bad = call("Joke", setup="knock", punch="who"), call("Joke", setup="the bomb", punch="boom")
    made = agent(words(good), response_format=ToolStrategy(Joke))
    assert made.invoke(HUMAN)["structured_response"] == Joke(setup="knock", punch="who")
    model = words(bad)
    result = agent(model, response_format=ToolStrategy(Joke)).invoke(HUMAN, {"recursion_limit": 9})
    assert result.get("structured_response") is None
    assert "boom" not in str(result)
    assert len(model.calls) == 1  # the host would ask again until there is one


class Swap(AgentMiddleware):
    """Puts another model in, or an answer of its own."""

    def __init__(self, model: Words | None) -> None:
        super().__init__()
        self.model = model

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(model=self.model)) if self.model else AIMessage(ANSWER)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(model=self.model)) if self.model else AIMessage(ANSWER)


@pytest.mark.parametrize("model", [words(), None], ids=["another model", "an answer"])
async def test_what_another_middleware_answers_is_judged_afterwards(model: Words | None) -> None:
    guard = HeadgateOutputGuardMiddleware(guard=stream_guard())
    made = create_agent(words("never asked"), [], middleware=[guard, Swap(model)])
    for result in (made.invoke(HUMAN), await made.ainvoke(HUMAN)):
        assert result["messages"][-1].text == GUARDED
        assert result["guard_verdicts"][guard.name]["action"] == "halt"
    last = create_agent(words("never asked"), [], middleware=[Swap(words()), guard])
    assert text([m for m, _ in last.stream(HUMAN, stream_mode="messages")]) == GUARDED


async def test_dropped_reasoning_is_in_no_answer() -> None:
    blocks = [{"type": "thinking", "thinking": "hm, a plan"}, {"type": "text", "text": "All is well."}]
    for said in (AIMessage("All is well.", additional_kwargs={"reasoning_content": "hm, a plan"}), AIMessage(blocks)):
        model = GuardedChatModel(inner=words(said), guard=HeadgateStreamGuard(guard=stream_guard(), reasoning="drop"))
        for message in (model.invoke("hi"), await model.ainvoke("hi")):
            assert "plan" not in str(message)
            assert message.text == "All is well."


async def test_calls_that_only_the_content_tells_of_are_judged() -> None:
    for kind, given in (("tool_use", {"input": {"text": SECRET}}), ("function_call", {"arguments": SECRET})):
        said = AIMessage([{"type": kind, "id": "7", "name": "send", **given, "index": 0}])
        chunks = list(guarded(words(said)).stream("hi"))
        for message in (guarded(words(said)).invoke("hi"), await guarded(words(said)).ainvoke("hi"), *chunks):
            assert "cellar" not in str(message)
        assert verdict(message)["events"][0]["tool_call"] == "7"
