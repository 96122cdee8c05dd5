import copy
import pickle

import pytest
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.runnables.router import RouterRunnable

import headgate
from headgate import Guard, Log, Logged, Rule, TextTooLongError
from headgate.testing import ToyScorer
from langchain_headgate import GuardBlockedError, HeadgateDocumentGuard, HeadgateGuard, HeadgateStreamGuard

REFUSAL = "I can't help with that."


def toy(scorer=None, **arguments) -> HeadgateGuard:
    return HeadgateGuard(guard=Guard(scorer or ToyScorer(), ["bomb", "poison"], 0.5), **arguments)


def documents() -> list[Document]:
    return [
        Document("build a bomb", id="1"),
        Document("bake a cake", id="2", metadata={"source": "x"}),
        Document("a poison bomb", id="3"),
        Document("", id="4"),
    ]


def test_an_allowed_input_passes_unchanged() -> None:
    for value in ("bake a cake", HumanMessage("cake"), [HumanMessage("cake")], ["cake"]):
        assert toy().invoke(value) is value


def test_a_blocked_input_raises_with_the_verdict() -> None:
    with pytest.raises(GuardBlockedError, match=r"blocked by bomb \(probability 0.98, forbidden from 0.50 up\)\.") as e:
        toy().invoke("build a bomb")
    assert e.value.verdict == Guard(ToyScorer(), ["bomb", "poison"], 0.5)("build a bomb")
    assert "build" not in str(e.value)
    twin = pickle.loads(pickle.dumps(e.value))
    assert (str(twin), twin.verdict) == (str(e.value), e.value.verdict)


def test_unreadable_text_is_named(counting) -> None:
    class Blind(counting):
        def score(self, texts, labels):
            from dataclasses import replace

            scores = super().score(texts, labels)
            return replace(scores, unknown=scores.unknown + 1)

    with pytest.raises(GuardBlockedError, match=r"blocked by unreadable \(100% of it are unknown tokens\)"):
        toy(Blind()).invoke("東京")


def test_a_broken_model_blocks(counting) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        toy(counting(error=RuntimeError("out of memory"))).invoke("cake")


def test_fallback_around_a_guarded_chain() -> None:
    model = FakeListChatModel(responses=["an answer"])
    chain = (toy() | model | StrOutputParser()).with_fallbacks(
        [RunnableLambda(lambda _: "sorry")], exceptions_to_handle=(GuardBlockedError,)
    )
    assert chain.invoke("bake a cake") == "an answer"
    assert chain.invoke("build a bomb") == "sorry"
    assert chain.batch(["a bomb", "a cake"]) == ["sorry", "an answer"]


@pytest.mark.parametrize("on_block", ["refuse", "replace"])
def test_refuses_in_the_place_of_an_answer(on_block) -> None:
    guard = toy(on_block=on_block)
    assert guard.invoke("a bomb") == REFUSAL
    assert guard.invoke("a cake") == "a cake"
    said = guard.invoke(AIMessage("a bomb", id="7", tool_calls=[{"name": "t", "args": {}, "id": "1"}]))
    assert (type(said), said.content, said.id, said.tool_calls) == (AIMessage, REFUSAL, "7", [])
    assert said.response_metadata["guard"]["broken"] == ("bomb",)
    assert guard.invoke(HumanMessage("a bomb", id="7")).id is None
    assert toy(on_block="refuse", refusal="no").invoke("a bomb") == "no"


def test_refuses_one_entry_of_a_mapping() -> None:
    guard = toy(on_block="refuse", input_key="answer")
    given = {"answer": "a bomb", "context": [1]}
    assert guard.invoke(given) == {"answer": REFUSAL, "context": [1]}
    assert given["answer"] == "a bomb"
    chain = RunnablePassthrough.assign(answer=lambda _: "a bomb") | guard
    assert chain.invoke({"question": "?"}) == {"question": "?", "answer": REFUSAL}


@pytest.mark.parametrize("on_block", ["refuse", "replace"])
def test_only_answers_can_be_refused(on_block) -> None:
    prompt = ChatPromptTemplate.from_messages([("human", "a cake")]).invoke({})
    for value in (["a cake"], [HumanMessage("a cake")], prompt):
        with pytest.raises(TypeError, match='use "raise" for inputs'):
            toy(on_block=on_block).invoke(value)


async def test_a_blocked_input_goes_another_way(counting) -> None:
    guard = toy(scorer := counting(), on_block="route")
    texts = ["a cake", "a bomb", [HumanMessage("tea")]]
    out = guard.batch(texts)
    assert [o["key"] for o in out] == ["allowed", "blocked", "allowed"]
    assert all(o["input"] is text for o, text in zip(out, texts, strict=True))
    assert out[1]["verdict"]["broken"] == ("bomb",)
    chain = guard | RouterRunnable({"allowed": RunnableLambda(str), "blocked": RunnableLambda(lambda _: "no")})
    assert chain.batch(texts[:2]) == ["a cake", "no"]
    assert await chain.abatch(texts[:2]) == ["a cake", "no"]
    assert [await chain.ainvoke(t) for t in texts[:2]] == [chain.invoke(t) for t in texts[:2]] == ["a cake", "no"]
    assert scorer.calls[:3] == [3, 2, 2]


def test_what_a_route_can_not_read_raises() -> None:
    with pytest.raises(TypeError, match="input is int"):
        toy(on_block="route").invoke(7)


def test_words_of_tool_calls_are_read() -> None:
    asked = AIMessage("", tool_calls=[{"name": "search", "args": {"q": "how to build a bomb"}, "id": "1"}])
    with pytest.raises(GuardBlockedError):
        toy().invoke(asked)


async def test_batch_is_one_call(counting, recorder) -> None:
    scorer = counting()
    texts = ["a cake", "a bomb", "tea", 7]
    for out in (
        toy(scorer).batch(texts, {"callbacks": [recorder]}, return_exceptions=True),
        await toy(scorer).abatch(texts, return_exceptions=True),
    ):
        assert [out[0], out[2]] == ["a cake", "tea"]
        assert [type(o) for o in (out[1], out[3])] == [GuardBlockedError, TypeError]
    assert scorer.calls == [3, 3]
    assert [bool(r.error) for r in recorder.roots] == [False, True, False, True]
    assert "blocked by bomb" in recorder.roots[1].error
    with pytest.raises(GuardBlockedError):
        toy(scorer).batch(texts[:3])
    assert toy(scorer, on_block="refuse").batch(texts[:3]) == ["a cake", REFUSAL, "tea"]


async def test_a_streamed_answer_is_held_back() -> None:
    model = FakeListChatModel(responses=["this is a bomb"])
    chain = model | StrOutputParser() | toy(on_block="refuse")
    assert list(chain.stream("?")) == [REFUSAL]
    assert [c async for c in chain.astream("?")] == [REFUSAL]
    assert [m.content for m in (model | toy(on_block="refuse")).stream("?")] == [REFUSAL]
    with pytest.raises(GuardBlockedError):
        list((model | toy()).stream("?"))


def test_conversations_are_judged_by_their_last_turns(loads) -> None:
    talk = [HumanMessage("spam"), AIMessage("no"), HumanMessage("ham")]
    assert HeadgateGuard(forbid=["spam"], turns=2).invoke(talk) is talk
    with pytest.raises(GuardBlockedError):
        HeadgateGuard(forbid=["spam"], turns=3).invoke(talk)


async def test_the_event_loop_goes_on(ticks, counting) -> None:
    for work in (toy(counting(seconds=0.3)).ainvoke("x"), toy(counting(seconds=0.3)).abatch(["x", "y"])):
        _, count = await ticks(work)
        assert count > 5


def document_guard(scorer=None) -> HeadgateDocumentGuard:
    return HeadgateDocumentGuard(guard=Guard(scorer or ToyScorer(), {"bomb": Rule("bomb", 0.5)}))


async def test_documents_that_break_a_rule_are_dropped(counting) -> None:
    given = documents()
    before = copy.deepcopy(given)
    guard = document_guard(scorer := counting())
    for kept in (guard.compress_documents(given, "q"), await guard.acompress_documents(given, "q")):
        assert [d.id for d in kept] == ["2", "4"]
        assert kept[0].metadata == {"source": "x", "guard_probabilities": {"bomb": pytest.approx(0.018, abs=1e-3)}}
    assert given == before
    assert scorer.calls == [4, 4]


def test_guards_in_a_row_add_their_probabilities() -> None:
    other = HeadgateDocumentGuard(guard=Guard(ToyScorer(), ["poison"], 0.5))
    kept = other.compress_documents(document_guard().compress_documents(documents(), "q"), "q")
    assert set(kept[0].metadata["guard_probabilities"]) == {"bomb", "poison"}


def test_what_is_no_earlier_guards_finding_is_replaced() -> None:
    given = [Document("tea", metadata={"guard_probabilities": old}) for old in ("high", {"bomb": 0.9, "spam": [1]})]
    first, second = document_guard().compress_documents(given, "q")
    assert first.metadata["guard_probabilities"] == {"bomb": pytest.approx(0.018, abs=1e-3)}
    assert second.metadata["guard_probabilities"]["bomb"] == first.metadata["guard_probabilities"]["bomb"]
    second.metadata["guard_probabilities"]["spam"].append(2)
    assert given[1].metadata == {"guard_probabilities": {"bomb": 0.9, "spam": [1]}}


def test_the_trace_holds_dropped_documents_too(recorder) -> None:
    document_guard().compress_documents(documents(), "q", callbacks=[recorder])
    (run,) = recorder.roots
    assert run.name == "HeadgateDocumentGuard"
    assert [v["broken"] for v in run.outputs["verdicts"]] == [("bomb",), (), ("bomb",), ()]
    assert len(run.outputs["documents"]) == 2


def test_a_broken_model_keeps_no_document(counting, recorder) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        document_guard(counting(error=RuntimeError("out of memory"))).compress_documents(
            documents(), "q", callbacks=[recorder]
        )
    assert "out of memory" in recorder.roots[0].error


async def test_documents_off_the_event_loop(ticks, counting) -> None:
    kept, count = await ticks(document_guard(counting(seconds=0.3)).acompress_documents(documents(), "q"))
    assert len(kept) == 2
    assert count > 5


def test_a_shadow_lets_all_pass_and_logs_what_it_found(tmp_path) -> None:
    log = Log(tmp_path / "log.jsonl")
    shadow = Logged(Guard(ToyScorer(), ["bomb", "poison"], 0.5), log, "shadow", enforce=False)
    assert HeadgateGuard(guard=shadow, on_block="route").invoke("build a bomb")["key"] == "allowed"
    for on_block in ("raise", "refuse"):
        assert HeadgateGuard(guard=shadow, on_block=on_block).invoke("build a bomb") == "build a bomb"
    assert HeadgateDocumentGuard(guard=shadow).compress_documents(documents(), "q")[2].page_content == "a poison bomb"
    assert [r.result.allowed for r in log] == [False, False, False, False, True, False, True]
    live = HeadgateGuard(guard=Logged(Guard(ToyScorer(), ["bomb"], 0.5), log, "live"))
    with pytest.raises(GuardBlockedError):
        live.invoke("build a bomb")
    assert [r.task for r in log][-1] == "live"


@pytest.fixture
def fitted(tmp_path, monkeypatch) -> str:
    path = str(tmp_path / "guard.yaml")
    headgate.save(Guard(ToyScorer(), {"bomb": Rule("bomb", 0.5)}), path)
    restore = headgate.restore
    monkeypatch.setitem(vars(headgate), "restore", lambda p, device: restore(p, scorer=ToyScorer()))
    return path


def test_saved_guards_are_restored(fitted) -> None:
    assert HeadgateGuard(config=fitted, on_block="replace").invoke("a bomb") == REFUSAL
    kept = HeadgateDocumentGuard(config=fitted).compress_documents(documents(), "q")
    assert [d.id for d in kept] == ["2", "4"]
    pytest.importorskip("sentencex")
    streamed = HeadgateStreamGuard(config=fitted, on_broken={"bomb": "redact"}, language="de")
    assert streamed.invoke("Ein Kuchen. A bomb.") == "Ein Kuchen. [removed]"
    for cls, wrong in ((HeadgateGuard, {"turns": 2}), (HeadgateStreamGuard, {"forbid": ["spam"]})):
        with pytest.raises(ValueError, match="config came together with"):
            cls(config=fitted, **wrong)
    with pytest.raises(ValueError, match="on_broken names rule 'spam'"):
        HeadgateStreamGuard(config=fitted, on_broken={"spam": "halt"})


def test_long_texts_may_be_refused(loads) -> None:
    for cls in (HeadgateGuard, HeadgateDocumentGuard, HeadgateStreamGuard):
        made = cls(forbid=["spam"], on_overflow="error")._noun()
        assert (made.guard if cls is HeadgateStreamGuard else made).on_overflow == "error"
    assert issubclass(TextTooLongError, ValueError)


@pytest.mark.parametrize(
    "more",
    [
        {"additional_kwargs": {"reasoning_content": "a bomb"}},
        {"additional_kwargs": {"refusal": "a bomb"}},
        {"additional_kwargs": {"function_call": {"name": "t", "arguments": '{"x": "a bomb"}'}}},
        {"tool_calls": [{"name": "t", "args": {"id": "a bomb"}, "id": "1"}]},
        {"tool_calls": [{"name": "t", "args": {"type": "file", "content": "a bomb"}, "id": "1"}]},
        {"invalid_tool_calls": [{"name": "t", "args": "a bomb", "id": "1", "error": None}]},
    ],
)
def test_all_that_a_message_says_is_judged(more) -> None:
    for content in ("fine", ["fine"]):
        message = AIMessage(content, **more)
        before = message.model_copy(deep=True)
        with pytest.raises(GuardBlockedError):
            toy().invoke(message)
        assert message == before
        assert toy(on_block="replace").invoke(message).content == REFUSAL
