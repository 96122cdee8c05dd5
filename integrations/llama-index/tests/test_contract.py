"""The contract of every adapter, over every class of this distribution."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_index.core.instrumentation as instrument
import pytest
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import NodeWithScore, TextNode
from tests.contract import Case, Contract

from headgate import Guard, Reranker
from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank
from llama_index.selectors.headgate import HeadgateSelector


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
    saved = staticmethod(saved)
    heard = staticmethod(heard)
