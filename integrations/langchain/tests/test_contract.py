"""The contract of every adapter, over every class of this distribution."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import collect_runs
from langchain_core.tracers.schemas import Run
from tests.contract import Case, Contract, Held
from tests.contract.langchain import REFUSAL, saved

import langchain_headgate
from headgate import Grounding, Guard, Reranker, Router, Scorer, StreamGuard
from headgate.sentences import sentences
from langchain_headgate import (
    HeadgateCrossEncoder,
    HeadgateDocumentGuard,
    HeadgateEmbeddings,
    HeadgateGrounding,
    HeadgateGuard,
    HeadgateReranker,
    HeadgateRetriever,
    HeadgateRouter,
    HeadgateStreamGuard,
)

pytest.importorskip("sentencex")


def documents(*texts: str) -> list[Document]:
    return [Document(text, id=str(i), metadata={"source": {"page": i}}) for i, text in enumerate(texts)]


def ids(found: list[Document]) -> list[str]:
    return [d.id or "" for d in found]


def compressor(cls: type, **more: Any) -> Case:
    """A class that takes documents and a query."""
    return Case(
        cls,
        inputs=lambda: [documents("ham and eggs", "a spam"), documents("eggs", "", "ham"), documents("ham")],
        call=lambda adapter, given: adapter.compress_documents(given, "ham"),
        acall=lambda adapter, given: adapter.acompress_documents(given, "ham"),
        nothing=lambda: ([], []),
        alike=lambda: (documents("ham", "ham", "ham", "ham"), ["0", "1", "2", "3"]),
        ids=ids,
        fired=(cls.__name__,),
        **more,
    )


def runnable(cls: type, **more: Any) -> Case:
    return Case(
        cls,
        call=lambda adapter, given: adapter.invoke(given),
        acall=lambda adapter, given: adapter.ainvoke(given),
        batch=lambda adapter, given: adapter.batch(given),
        abatch=lambda adapter, given: adapter.abatch(given),
        fired=(cls.__name__,),
        hands=True,
        **more,
    )


@dataclass(frozen=True)
class Vectors:
    """Embeds as the scorer does, or as it would if it could."""

    scorer: Scorer

    def embed(self, texts: list[str], *, role: Any) -> Any:
        return getattr(self.scorer, "embed", Held().embed)(texts, role=role)


def embeddings(**more: Any) -> Case:
    return Case(
        HeadgateEmbeddings,
        scalars={},
        ready="embedder",
        noun=Vectors,
        wrong=(({"max_length": "long"}, "max_length"),),
        **more,
    )


CASES = [
    Case(
        HeadgateCrossEncoder,
        scalars={},
        ready="scorer",
        noun=lambda scorer: scorer,
        inputs=lambda: [[("ham", "ham and eggs"), ("eggs", "ham")], [("ham", "")]],
        call=lambda adapter, given: adapter.score(given),
        acall=lambda adapter, given: adapter.ascore(given),
        nothing=lambda: ([], []),
        beside={"long_query": "windows"},
        wrong=(({"long_query": "cut"}, "long_query"),),
    ),
    embeddings(
        inputs=lambda: [["ham", "a spam"], [""]],
        call=lambda adapter, given: adapter.embed_documents(given),
        acall=lambda adapter, given: adapter.aembed_documents(given),
        nothing=lambda: ([], []),
    ),
    embeddings(
        inputs=lambda: ["ham", "eggs"],
        call=lambda adapter, given: adapter.embed_query(given),
        acall=lambda adapter, given: adapter.aembed_query(given),
        name="HeadgateEmbeddings of a query",
    ),
    compressor(
        HeadgateReranker,
        scalars={"top_n": 9},
        ready="reranker",
        noun=lambda scorer: Reranker(scorer, top_k=9),
        wrong=(
            ({"top_n": 0}, "top_n"),
            ({"min_probability": 1.5}, "min_probability"),
            ({"top_p": 0}, "top_p"),
            ({"max_gap": -1}, "max_gap"),
            ({"long_query": "cut"}, "long_query"),
        ),
    ),
    compressor(
        HeadgateDocumentGuard,
        scalars={"forbid": ["spam"]},
        ready="guard",
        noun=lambda scorer: Guard(scorer, ["spam"], 0.5),
        wrong=(
            ({"forbid": None}, "forbid"),
            ({"forbid": []}, "forbid"),
            ({"forbid": ["unreadable"]}, "unreadable"),
            ({"unreadable": -1}, "unreadable"),
        ),
    ),
    runnable(
        HeadgateRouter,
        scalars={"routes": ["ham", "eggs"]},
        ready="router",
        noun=lambda scorer: Router(scorer, ["ham", "eggs"]),
        inputs=lambda: ["ham", [HumanMessage("eggs")], "neither of them"],
        beside={"fallback": "none"},
        wrong=(
            ({"routes": None}, "routes"),
            ({"routes": []}, "routes"),
            ({"routes": "billing"}, "routes"),
            ({"routes": ["a", "a"]}, "'a'"),
            ({"threshold": 2}, "threshold"),
        ),
    ),
    runnable(
        HeadgateGuard,
        scalars={"forbid": ["spam"]},
        ready="guard",
        noun=lambda scorer: Guard(scorer, ["spam"], 0.5),
        inputs=lambda: ["ham", "a spam", HumanMessage("eggs")],
        beside={"on_block": "refuse"},
        wrong=(
            ({"forbid": None}, "forbid"),
            ({"forbid": "spam"}, "forbid"),
            ({"on_block": "ignore"}, "on_block"),
        ),
    ),
    runnable(
        HeadgateStreamGuard,
        scalars={"forbid": ["spam"]},
        ready="guard",
        noun=lambda scorer: StreamGuard(Guard(scorer, ["spam"], 0.5), sentences("en")),
        inputs=lambda: ["Some ham. And eggs.", "Ham it is. A spam. More.", AIMessage("A spam.", id="1")],
        beside={"refusal": "no"},
        wrong=(
            ({"forbid": None}, "forbid"),
            ({"on_broken": "ignore"}, "on_broken"),
            ({"on_broken": {"ham": "halt"}}, "ham"),
            ({"lookahead": 0}, "lookahead"),
            ({"max_held": 9}, "max_held"),
            ({"language": " "}, "language"),
            ({"reasoning": "show"}, "reasoning"),
        ),
    ),
    runnable(
        HeadgateGrounding,
        scalars={"threshold": 0.5},
        ready="grounding",
        noun=lambda scorer: Grounding(scorer, sentences("en"), 0.5),
        inputs=lambda: [
            {"answer": "Ham and eggs. Or spam.", "context": documents("ham and eggs", "eggs or ham")},
            {"answer": AIMessage("Eggs."), "context": ["some eggs"]},
        ],
        beside={"documents_key": "context"},
        wrong=(
            ({"threshold": 2}, "threshold"),
            ({"contradiction": -1}, "contradiction"),
            ({"cite": "words"}, "cite"),
            ({"pairs": -1}, "pairs"),
            ({"language": ""}, "language"),
            ({"on_unsupported": "drop"}, "on_unsupported"),
        ),
    ),
]

if find_spec("langchain_core.decisions"):  # since langchain-core 1.8
    QUESTIONS = {
        "meal": {"type": "choice", "instructions": "Which?", "criteria": {"meat": "ham", "egg": "eggs"}},
        "spam": {"type": "noul", "instructions": "a spam"},
    }
    CASES.append(
        runnable(
            langchain_headgate.HeadgateDecisionModel,
            scalars={},
            ready="scorer",
            noun=lambda scorer: scorer,
            inputs=lambda: [
                {"state": "ham", "questions": QUESTIONS},
                {"state": [HumanMessage("eggs")], "questions": QUESTIONS},
                {"state": {"text": "a spam"}, "questions": QUESTIONS},
            ],
            # The name of what answered is the one thing that differs between a name and a ready scorer.
            plain=lambda found: {name: answer.model_dump() for name, answer in found.answers.items()},
            beside={"hypotheses": {"spam": "spam"}},
            wrong=(({"unreadable": 2}, "unreadable"), ({"hypotheses": {"spam": " "}}, "spam")),
        )
    )


@contextmanager
def heard() -> Iterator[list[str]]:
    """Names of runs, a parent before its children."""
    names: list[str] = []
    with collect_runs() as found:
        yield names
    for root in found.traced_runs:
        names.extend(told(root))


def told(run: Run) -> Iterator[str]:
    yield run.name if run.error is None else f"{run.name} failed"
    for child in run.child_runs:
        yield from told(child)


@pytest.mark.parametrize("case", CASES, ids=str)
class TestContract(Contract):
    saved, refusal = staticmethod(saved), REFUSAL
    heard = staticmethod(heard)


def base(*texts: str) -> RunnableLambda[str, list[Document]]:
    return RunnableLambda(lambda query: documents(*texts), name="base")


class TestRetriever(Contract):
    """Its reranker is an adapter itself."""

    saved, refusal = staticmethod(saved), REFUSAL
    heard = staticmethod(heard)
    # It names no model of its own: its parts do, and are held to these.
    test_the_model_is_loaded_at_first_use_with_what_was_said = None
    test_noun_and_scalars_at_once_are_refused = None
    test_a_ready_noun_is_shared_by_copies_and_never_lost_in_a_pickle = None

    @pytest.fixture
    def case(self) -> Case:
        return Case(
            HeadgateRetriever,
            scalars={"reranker": HeadgateReranker(top_n=9)},
            ready="reranker",
            noun=lambda scorer: HeadgateReranker(reranker=Reranker(scorer, top_k=9)),
            beside={"retriever": base("ham and eggs", "a spam", "ham")},
            inputs=lambda: ["ham", "eggs"],
            call=lambda adapter, given: adapter.invoke(given),
            acall=lambda adapter, given: adapter.ainvoke(given),
            alike=lambda: ("none", ["0", "1", "2"]),
            ids=ids,
            fired=("HeadgateRetriever", "base", "HeadgateReranker"),
            kept=False,  # nor is the retriever inside
            wrong=(({"top_n": 0}, "top_n"), ({"on_broken": "hide"}, "on_broken"), ({"reranker": None}, "reranker")),
        )

    def test_where_nothing_was_found_no_model_is_asked(self, case: Case) -> None:
        scorer = Held()
        assert HeadgateRetriever(retriever=base(), reranker=case.noun(scorer)).invoke("ham") == []
        assert scorer.calls == []


def test_every_public_class_is_held_to_the_contract() -> None:
    classes = {n for n in langchain_headgate.__all__ if isinstance(getattr(langchain_headgate, n), type)}
    adapters = {n for n in classes if hasattr(getattr(langchain_headgate, n), "model_fields")}
    held = {case.cls.__name__ for case in CASES} | {"HeadgateRetriever"}
    assert adapters == held - {"HeadgateDecisionModel"}
