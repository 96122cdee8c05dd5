"""The contract of every adapter, over the evaluators."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_index.core.instrumentation as instrument
import pytest
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler

from headgate import Grounding, Reranker
from headgate.sentences import sentences
from llama_index.evaluation.headgate import HeadgateFaithfulnessEvaluator, HeadgateRelevancyEvaluator

pytest.importorskip("sentencex")
contract = pytest.importorskip("tests.contract")


def evaluator(cls: type, **more: Any) -> Any:
    return contract.Case(
        cls,
        inputs=lambda: [("Ham is here. Eggs are too.", ["ham is here", "spam"]), ("Ham.", ["ham"]), ("Eggs.", [])],
        call=lambda adapter, given: adapter.evaluate(query="ham", response=given[0], contexts=given[1]),
        acall=lambda adapter, given: adapter.aevaluate(query="ham", response=given[0], contexts=given[1]),
        plain=lambda found: found.model_dump(),
        **more,
    )


CASES = [
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
]


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
class TestContract(contract.Contract):
    saved = staticmethod(lambda adapter: type(adapter).from_dict(json.loads(adapter.to_json())))
    heard = staticmethod(heard)
