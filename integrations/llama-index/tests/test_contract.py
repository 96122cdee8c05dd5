"""The contract of every adapter, over every class of this distribution."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from importlib import import_module
from typing import Any

import llama_index.core.instrumentation as instrument
import pytest
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import NodeWithScore, TextNode
from tests.contract import Case, Contract
from tests.speaking import FakeLLM

pytest.importorskip("sentencex")

from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.tools import QueryEngineTool, ToolMetadata

from headgate import Grounding, Guard, Reranker
from headgate.sentences import sentences
from llama_index.embeddings.headgate import HeadgateEmbedding
from llama_index.evaluation.headgate import HeadgateFaithfulnessEvaluator, HeadgateRelevancyEvaluator
from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank
from llama_index.query_engine.headgate import HeadgateChatEngine, HeadgateQueryEngine
from llama_index.selectors.headgate import HeadgateSelector, HeadgateToolRetriever


def nodes(*texts: str) -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(text=text, id_=str(i), metadata={"page": i}), score=0.5)
        for i, text in enumerate(texts)
    ]


def plain(found: list[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(n.node.node_id, n.score) for n in found]


def postprocessor(cls: type, **more: Any) -> Case:
    return Case(
        cls,
        inputs=lambda: [nodes("ham and eggs", "a spam"), nodes("eggs", "", "ham"), nodes("ham")],
        call=lambda adapter, given: adapter.postprocess_nodes(given, query_str="ham"),
        acall=lambda adapter, given: adapter.apostprocess_nodes(given, query_str="ham"),
        plain=plain,
        nothing=lambda: ([], []),
        alike=lambda: (nodes("ham", "ham", "ham", "ham"), ["0", "1", "2", "3"]),
        ids=lambda found: [n.node.node_id for n in found],
        hands=True,  # new NodeWithScore around the same nodes, as the host does
        **more,
    )


CASES = [
    postprocessor(
        HeadgateRerank,
        scalars={"top_n": 9},
        ready="reranker",
        noun=lambda scorer: Reranker(scorer, top_k=9),
        fired=("ReRankStartEvent", "RerankEndEvent"),
        wrong=(
            ({"top_n": 0}, "top_n"),
            ({"min_probability": 1.5}, "min_probability"),
            ({"top_p": 0}, "top_p"),
            ({"max_gap": -1}, "max_gap"),
            ({"long_query": "cut"}, "long_query"),
        ),
    ),
    postprocessor(
        HeadgateNodeGuard,
        scalars={"forbid": ["spam"]},
        ready="guard",
        noun=lambda scorer: Guard(scorer, ["spam"], 0.5),
        fired=("NodeGuardEvent",),
        wrong=(
            ({"forbid": None}, "forbid"),
            ({"forbid": []}, "forbid"),
            ({"forbid": ["unreadable"]}, "unreadable"),
            ({"unreadable": -1}, "unreadable"),
        ),
    ),
    Case(
        HeadgateSelector,
        scalars={},
        ready="scorer",
        noun=lambda scorer: scorer,
        beside={"default_index": 1},
        inputs=lambda: ["ham", "eggs", "neither of them"],
        call=lambda adapter, given: adapter.select(["ham", "eggs"], given),
        acall=lambda adapter, given: adapter.aselect(["ham", "eggs"], given),
        plain=lambda found: found.model_dump(),
        fired=("SelectionEvent",),
        wrong=(({"threshold": 2}, "threshold"), ({"default_index": -1}, "default_index")),
    ),
]


class Echo(CustomQueryEngine):
    """Answers with the question."""

    def custom_query(self, query_str: str) -> str:
        return query_str


def tool(name: str, description: str) -> QueryEngineTool:
    return QueryEngineTool(query_engine=Echo(), metadata=ToolMetadata(description, name))


def evaluator(cls: type, **more: Any) -> Case:
    return Case(
        cls,
        inputs=lambda: [("Ham is here. Eggs are too.", ["ham is here", "spam"]), ("Ham.", ["ham"]), ("Eggs.", [])],
        call=lambda adapter, given: adapter.evaluate(query="ham", response=given[0], contexts=given[1]),
        acall=lambda adapter, given: adapter.aevaluate(query="ham", response=given[0], contexts=given[1]),
        plain=lambda found: found.model_dump(),
        **more,
    )


def engine(cls: type, name: str, **more: Any) -> Case:
    """A guarded engine, whose questions are judged or whose answers are."""
    return Case(
        cls,
        name=f"{cls.__name__}[{name}]",
        plain=lambda found: (str(found), found.metadata["headgate"]),
        fired=("TextGuardEvent",),
        hands=True,
        kept=False,
        alone="chat_engine" in more["beside"],
        **more,
    )


def asks(given: Any, how: str) -> dict[str, Any]:
    """The ways to ask a query engine or a chat engine."""
    return {
        # In a thread: on the main one the host's memory leaves an event loop open.
        "call": lambda adapter, text: THREAD.submit(copy_context().run, getattr(adapter, how), text).result(),
        "acall": lambda adapter, text: getattr(adapter, f"a{how}")(text),
        "beside": given,
        "inputs": lambda: ["Ham is here.", "It is a spam. Ham is here."],
    }


THREAD = ThreadPoolExecutor(16)
QUERIES = asks({"query_engine": Echo()}, "query")
WRITER = FakeLLM(says="Ham is here. A spam too.")
CHATS = asks({"chat_engine": THREAD.submit(lambda: SimpleChatEngine.from_defaults(llm=WRITER)).result()}, "chat")
OUTPUT = {
    "scalars": {"forbid_output": ["spam"]},
    "ready": "output_guard",
    "noun": lambda scorer: Guard(scorer, ["spam"], 0.5),
    "wrong": (({"forbid_output": []}, "forbid"), ({"on_broken": "cut"}, "on_broken"), ({"context": 0}, "context")),
}
INPUT = {
    "scalars": {"forbid_input": ["spam"]},
    "ready": "input_guard",
    "noun": lambda scorer: Guard(scorer, ["spam"], 0.5),
    "wrong": (({"forbid_input": None}, "no rules"), ({"forbid_input": "spam"}, "forbid"), ({"threshold": 2}, "thresh")),
}

CASES += [
    evaluator(
        HeadgateFaithfulnessEvaluator,
        scalars={"pairs": 2},
        ready="grounding",
        noun=lambda scorer: Grounding(scorer, sentences(), threshold=0.5, pairs=2),
        fired=("FaithfulnessEvent",),
        wrong=(({"threshold": 2}, "threshold"), ({"cite": "words"}, "cite"), ({"pairs": -1}, "pairs")),
    ),
    evaluator(
        HeadgateRelevancyEvaluator,
        scalars={},
        ready="reranker",
        noun=lambda scorer: Reranker(scorer),
        beside={"threshold": 0.4},
        fired=("RelevancyEvent",),
        wrong=(({"threshold": 2}, "threshold"), ({"long_query": "cut"}, "long_query")),
    ),
    engine(HeadgateQueryEngine, "output", **QUERIES, **OUTPUT),
    engine(HeadgateQueryEngine, "input", **QUERIES, **INPUT),
    engine(HeadgateChatEngine, "output", **CHATS, **OUTPUT),
    engine(HeadgateChatEngine, "input", **CHATS, **INPUT),
    Case(
        HeadgateToolRetriever,
        scalars={},
        ready="scorer",
        noun=lambda scorer: scorer,
        beside={"tools": [tool("a", "ham"), tool("b", "eggs"), tool("c", "spam")], "top_n": 2},
        inputs=lambda: ["eggs", "ham and spam"],
        call=lambda adapter, given: adapter.retrieve(given),
        acall=lambda adapter, given: adapter.aretrieve(given),
        plain=lambda found: [one.metadata.name for one in found],
        fired=("SelectionEvent",),
        hands=True,
        kept=False,
        wrong=(
            ({"tools": []}, "tools"),
            ({"default": ["d"]}, "default"),
            ({"top_n": 0}, "top_n"),
            ({"tools": [tool("a", "ham"), tool("b", "ham")]}, "ham|same"),
        ),
    ),
    Case(
        HeadgateEmbedding,
        scalars={},
        ready="embedder",
        noun=lambda scorer: scorer,
        inputs=lambda: [["ham", "eggs"], ["ham"]],
        call=lambda adapter, given: adapter.get_text_embedding_batch(given),
        acall=lambda adapter, given: adapter.aget_text_embedding_batch(given),
        nothing=lambda: ([], []),
        fired=("EmbeddingStartEvent", "EmbeddingEndEvent"),
        wrong=(({"embed_batch_size": 0}, "embed_batch_size"), ({"model": 3}, "model")),
    ),
]


def saved(adapter: Any) -> Any:
    """Through JSON, and back by the host's own methods."""
    return type(adapter).from_dict(json.loads(adapter.to_json()))


class Names(BaseEventHandler):
    """Of all events."""

    seen: list[str]

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.seen.append(type(event).__name__)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Names of events, and of spans that were dropped, as failed."""
    root, events, spans = instrument.get_dispatcher(), Names(seen=[]), SimpleSpanHandler()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    try:
        yield events.seen
    finally:
        root.event_handlers.remove(events)
        root.span_handlers.remove(spans)
        events.seen.extend(f"{span.id_} failed" for span in spans.dropped_spans)


@pytest.mark.parametrize("case", CASES, ids=str)
class TestContract(Contract):
    saved, refusal = staticmethod(saved), ValueError
    heard = staticmethod(heard)


def test_every_class_is_held_to_the_contract() -> None:
    spaces = ("postprocessor", "selectors", "evaluation", "query_engine", "embeddings")
    modules = [import_module(f"llama_index.{space}.headgate") for space in spaces]
    public = [getattr(module, name) for module in modules for name in module.__all__]
    adapters = {one for one in public if isinstance(one, type) and "loaded" in getattr(one, "model_fields", {})}
    assert adapters == {case.cls for case in CASES}
