import json
import pickle
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnablePassthrough
from tests.writers import split

from headgate import Grounding
from headgate.testing import ToyScorer
from langchain_headgate import HeadgateGrounding, UngroundedError

DOCUMENTS = [
    Document("fish swim. the lamp is green.", id="d1", metadata={"source": "lamp.md", "page": 3}),
    Document("cats purr. dogs bark.", metadata={"title": "pets"}),
]
ANSWER = "the lamp is green. cows fly."


def toy(scorer: Any = None, **arguments: Any) -> HeadgateGrounding:
    return HeadgateGrounding(grounding=Grounding(scorer or ToyScorer(), split, 0.9), **arguments)


def given(answer: Any = ANSWER, documents: Any = DOCUMENTS) -> dict[str, Any]:
    return {"input": "?", "answer": answer, "context": documents}


def test_claims_with_the_words_that_support_them() -> None:
    value = given()
    out = toy().invoke(value)
    assert {k: out[k] for k in value} == value
    assert set(value) == {"input", "answer", "context"}  # what came in is not changed
    assert out["supported"] is False
    good, bad = out["claims"]
    assert (good["sentence"], good["verdict"], bad["verdict"]) == ("the lamp is green.", "supported", "no evidence")
    (cited,) = good["citations"]
    expected = {"passage": 0, "document_id": "d1", "source": "lamp.md", "quote": "the lamp is green.", "span": [11, 29]}
    assert {k: cited[k] for k in expected} == expected
    assert bad["citations"] == []
    assert json.loads(json.dumps(out["claims"])) == out["claims"]
    claims = Grounding(ToyScorer(), split, 0.9)(ANSWER, [d.page_content for d in DOCUMENTS])
    assert [c["probability"] for c in out["claims"]] == [c.probability for c in claims]


def test_texts_and_documents_without_names() -> None:
    (claim,) = toy().invoke(given("dogs bark.", ["cats purr. dogs bark."]))["claims"]
    assert (claim["citations"][0]["quote"], claim["citations"][0]["document_id"]) == ("dogs bark.", None)
    (claim,) = toy().invoke(given("dogs bark."))["claims"]
    assert (claim["citations"][0]["passage"], claim["citations"][0]["source"]) == (1, None)


def test_messages_and_other_keys() -> None:
    out = toy().invoke(given(AIMessage([{"type": "text", "text": "dogs bark."}])))
    assert (out["supported"], type(out["answer"])) == (True, AIMessage)
    renamed = toy(answer_key="reply", documents_key="sources")
    assert renamed.invoke({"reply": "dogs bark.", "sources": DOCUMENTS, "context": 7})["supported"]
    assert toy().invoke({"answer": "dogs bark.", "documents": DOCUMENTS})["supported"]


def test_an_answer_without_claims_or_documents() -> None:
    out = toy().invoke(given("", []))
    assert (out["supported"], out["claims"]) == (True, [])
    out = toy().invoke(given("dogs bark.", []))
    assert (out["supported"], out["claims"][0]["verdict"]) == (False, "no evidence")


def test_an_unsupported_answer_raises() -> None:
    strict = toy(on_unsupported="raise")
    assert strict.invoke(given("dogs bark."))["supported"]
    with pytest.raises(UngroundedError, match=r"1 of 2 claims are not supported .*: 1 \(no evidence\)") as error:
        strict.invoke(given())
    assert [c.supported for c in error.value.claims] == [True, False]
    assert "cows" not in str(error.value)
    twin = pickle.loads(pickle.dumps(error.value))
    assert (str(twin), twin.claims) == (str(error.value), error.value.claims)
    out = strict.batch([given(), given("dogs bark.")], return_exceptions=True)
    assert [type(o) for o in out] == [UngroundedError, dict]


def test_an_unsupported_answer_is_replaced() -> None:
    soft = toy(on_unsupported="replace", refusal="I don't know.")
    out = soft.invoke(given())
    assert (out["answer"], out["supported"], len(out["claims"])) == ("I don't know.", False, 2)
    assert soft.invoke(given("dogs bark."))["answer"] == "dogs bark."
    said = soft.invoke(given(AIMessage(ANSWER, id="7")))["answer"]
    assert (type(said), said.content, said.id) == (AIMessage, "I don't know.", "7")
    assert soft.invoke(given(HumanMessage(ANSWER, id="7")))["answer"].id is None


async def test_a_batch_is_one_plan(counting, recorder) -> None:
    class Planning(counting):
        def score_many(self, asks):
            plans.append(len(asks))
            return [ToyScorer.score(self, ask.texts, ask.labels) for ask in asks]

    plans: list[int] = []
    values = [given(), given("dogs bark."), {"answer": "x"}, given(7)]
    for out in (
        toy(Planning()).batch(values, {"callbacks": [recorder]}, return_exceptions=True),
        await toy(Planning()).abatch(values, return_exceptions=True),
    ):
        assert [o["supported"] for o in out[:2]] == [False, True]
        assert [type(o) for o in out[2:]] == [ValueError, TypeError]
    assert len(plans) == 2
    assert [r.name for r in recorder.roots] == ["HeadgateGrounding"] * 4
    assert [bool(r.error) for r in recorder.roots] == [False, False, True, True]


def test_behind_a_chain() -> None:
    chain = RunnablePassthrough.assign(context=lambda _: DOCUMENTS) | RunnablePassthrough.assign(
        answer=lambda _: ANSWER
    )
    (out,) = (chain | toy()).stream({"input": "?"})
    assert [c["supported"] for c in out["claims"]] == [True, False]


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        ("an answer", TypeError, "input is str; expected a mapping, because answer_key is 'answer'"),
        ({"context": []}, ValueError, "no 'answer', which answer_key names; it has \\['context'\\]"),
        ({"answer": "a"}, ValueError, "documents as one of \\['context', 'documents'\\]: pass documents_key"),
        ({"answer": "a", "context": [], "documents": []}, ValueError, "pass documents_key"),
        ({"answer": 7, "context": []}, TypeError, "'answer' of the input is int; expected an answer"),
        ({"answer": "a", "context": "all in one"}, TypeError, "'context' of the input is str; expected a list"),
        ({"answer": "a", "context": None}, TypeError, "'context' of the input is NoneType; expected a list"),
        ({"answer": "a", "context": [7]}, TypeError, "a document is int; expected langchain_core Document or str"),
    ],
)
def test_what_can_not_be_read_is_named(value, error, said) -> None:
    with pytest.raises(error, match=said):
        toy().invoke(value)


def test_a_missing_documents_key_is_named() -> None:
    with pytest.raises(ValueError, match="no 'sources', which documents_key names"):
        toy(documents_key="sources").invoke(given())


def test_a_grounding_that_reads_passages_itself_is_refused() -> None:
    reads = Grounding(ToyScorer(), split, 0.9, text=lambda d: d["words"])
    with pytest.raises(ValueError, match="grounding has a text"):
        HeadgateGrounding(grounding=reads)


def test_scalars_reach_the_core(loads) -> None:
    pytest.importorskip("sentencex")
    given = {
        "threshold": 0.7,
        "contradiction": 0.6,
        "cite": "windows",
        "pairs": 2,
        "literals": False,
        "unreadable": 0.3,
    }
    made = HeadgateGrounding(**given)._noun()
    assert {name: getattr(made, name) for name in given} == given
    assert loads == [("mini/nli", {})]


def test_without_any_threshold_the_first_call_says_so(loads) -> None:
    pytest.importorskip("sentencex")
    with pytest.raises(ValueError, match="there is no threshold"):
        HeadgateGrounding().invoke(given("dogs bark."))
