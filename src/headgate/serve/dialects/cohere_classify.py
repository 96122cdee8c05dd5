"""Cohere ``/v1/classify``: a router without examples, and one with a few."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.examples import WithExamples
from headgate.scores import Ask
from headgate.serve.catalog import embedder
from headgate.serve.faults import Fault
from headgate.serve.service import Service
from headgate.serve.wire import JSONRoute, Reply, Wire, new_id, reply
from headgate.wrapped import normalized

NEAREST = 3
"""How many utterances of a label count: their mean cosine with the text, times ten, goes into a softmax."""


class Example(Wire):
    """An utterance of a label."""

    text: str = Field(description="What somebody said.", examples=["My card was charged twice."])
    label: str = Field(description="What it is.", examples=["billing"])


class Classify(Wire):
    """What Cohere's clients send."""

    inputs: list[str] = Field(description="Texts to classify.", examples=[["Where is my parcel?"]])
    examples: list[Example] | None = Field(
        None,
        description="Utterances with their labels, one a label at least; absent for a served router.",
        examples=[
            [{"text": "My card was charged twice.", "label": "billing"}, {"text": "Late parcel", "label": "delivery"}]
        ],
    )
    model: str | None = Field(
        None,
        description="Name of a served router, which brings its labels, where no examples come.",
        examples=["support"],
    )
    truncate: str | None = Field(None, description="Accepted; nothing is cut.", examples=["END"])


class Confidence(Reply):
    """Of a label."""

    confidence: float = Field(description="Its share of the probability, 0 to 1.", examples=[0.94])


class Classification(Reply):
    """One text."""

    id: str = Field(examples=["6f1c"])
    input: str = Field(description="The text.", examples=["Where is my parcel?"])
    prediction: str | None = Field(
        description="The likeliest label; null where the served router chose none.", examples=["delivery"]
    )
    predictions: list[str] = Field(description="The same, as a list.", examples=[["delivery"]])
    confidence: float | None = Field(description="Of the prediction.", examples=[0.94])
    confidences: list[float] = Field(description="The same, as a list.", examples=[[0.94]])
    labels: dict[str, Confidence] = Field(description="Of every label.", examples=[{"delivery": {"confidence": 0.94}}])
    classification_type: Literal["single-label", "multi-label"] = "single-label"


class ClassifyReply(Reply):
    """Cohere's reply."""

    id: str = Field(examples=["classify-6f1c"])
    classifications: list[Classification] = Field(description="One for each text, in order.")
    meta: dict[str, Any] = Field(description="api_version, billed_units.")


def routes(service: Service) -> APIRouter:
    """``/v1/classify``."""
    router = APIRouter(route_class=JSONRoute, tags=["route"])

    async def classify(request: Request, body: Classify) -> Response:
        """Choose a label for each text: by examples that come along, or by a router that is served."""
        if not body.inputs:
            raise Fault("invalid", "invalid request: inputs must not be empty", param="inputs")
        size = sum(map(len, body.inputs)) + sum(len(one.text) for one in body.examples or ())
        rows = await service.run(request, size, lambda: _classified(service, body))
        service.note(request, documents=len(body.inputs), texts=body.inputs)
        return reply(
            {
                "id": new_id("classify"),
                "classifications": [_shown(t, row) for t, row in zip(body.inputs, rows, strict=True)],
                "meta": {
                    "api_version": {"version": "1"},
                    "billed_units": {"classifications": len(body.inputs)},
                },
            }
        )

    for path in ("/v1/classify", "/cohere/v1/classify"):
        router.post(path, response_model=ClassifyReply, include_in_schema=path == "/v1/classify")(classify)
    return router


@dataclass(frozen=True)
class _Row:
    chosen: tuple[str, ...]
    confidences: dict[str, float]
    multi: bool = False


def _classified(service: Service, body: Classify) -> list[_Row]:
    if body.examples:
        return _nearest(service, body.inputs, body.examples)
    found = service.catalog.named("router", body.model)
    scores, _ = service.judge(found.name, found.task.scorer, found.task.ask(body.inputs))
    decisions = found.task.decide(scores)
    service.meter.routed(found.name, decisions)
    return [_Row(d.choices, d.probabilities, found.task.multi) for d in decisions]


def _nearest(service: Service, inputs: list[str], examples: list[Example]) -> list[_Row]:
    """By the utterances of each label that are nearest: a softmax of their cosines, as the wire wants it."""
    said: dict[str, list[str]] = {}
    for one in examples:
        utterances = said.setdefault(one.label, [])
        if normalized(one.text) not in map(normalized, utterances):
            utterances.append(one.text)
    if len(said) < 2:
        raise Fault("invalid", f"examples are of {len(said)} label; expected two labels or more.", param="examples")
    scorer = WithExamples(None, embedder(service.catalog), said, nearest=NEAREST)
    (scores,), _ = service.judge("embedder", scorer, [Ask(inputs, scorer.labels)])
    z = scores.log_odds.astype(np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return [_Row((scorer.labels[int(row.argmax())],), dict(zip(scorer.labels, row.tolist(), strict=True))) for row in p]


def _shown(text: str, row: _Row) -> dict[str, Any]:
    confidences = [row.confidences[name] for name in row.chosen]
    return {
        "id": new_id("input"),
        "input": text,
        "prediction": row.chosen[0] if row.chosen else None,
        "predictions": list(row.chosen),
        "confidence": confidences[0] if confidences else None,
        "confidences": confidences,
        "labels": {name: {"confidence": p} for name, p in row.confidences.items()},
        "classification_type": "multi-label" if row.multi else "single-label",
    }
