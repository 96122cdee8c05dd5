"""vLLM: ``/score`` of pairs, and ``/classify``, which infinity's clients call with ``raw_scores``."""

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import Discriminator, Field, Tag

from headgate.scores import logistic
from headgate.serve.classifying import classified
from headgate.serve.dialects import infinity
from headgate.serve.faults import INFINITY, Fault
from headgate.serve.service import Service
from headgate.serve.wire import JSONRoute, Reply, Wire, new_id, now, reply, speaks

Texts = str | list[str]
_NAMES = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


class Score(Wire):
    """Two sides under any of vLLM's four pairs of names: one with many, or as many on both."""

    model: str | None = Field(None, description="Name of a served reranker.", examples=["default"])
    queries: Texts | None = Field(None, description="One side.", examples=["how do I reset the hub?"])
    documents: Texts | None = Field(None, description="The other.", examples=[["Hold the button for ten seconds."]])
    items: Texts | None = Field(None, description="The same as documents.", examples=[["Hold the button."]])
    data_1: Texts | None = Field(None, description="As queries.", examples=["how do I reset the hub?"])
    data_2: Texts | None = Field(None, description="As documents.", examples=[["Hold the button."]])
    text_1: Texts | None = Field(None, description="As queries.", examples=["how do I reset the hub?"])
    text_2: Texts | None = Field(None, description="As documents.", examples=[["Hold the button."]])
    use_activation: bool | None = Field(None, description="false gives log-odds.", examples=[True])

    def sides(self) -> tuple[list[str], list[str]]:
        """Queries and documents, as many of each.

        Raises:
            Fault: A side is missing, or their numbers don't go together.
        """
        there = [(getattr(self, a), getattr(self, b)) for a, b in _NAMES]
        found = next((pair for pair in there if None not in pair), None)
        if found is None:
            raise Fault("invalid", f"no pair of texts came; expected one of {[' and '.join(n) for n in _NAMES]}.")
        left, right = ([side] if isinstance(side, str) else side for side in found)
        if len(left) == 1 or (len(left) == len(right) and left):
            return left * len(right) if len(left) == 1 else left, right
        raise Fault("invalid", f"{len(left)} and {len(right)} texts came; expected 1 and any number, or as many.")


class Scored(Reply):
    """The score of a pair."""

    index: int = Field(description="Which pair.", examples=[0])
    object: Literal["score"] = "score"
    score: float = Field(description="0 to 1, or log-odds.", examples=[0.91])


class Usage(Reply):
    """What was read."""

    prompt_tokens: int = Field(description="The same.", examples=[41])
    total_tokens: int = Field(description="Tokens of all texts.", examples=[41])


class ScoreReply(Reply):
    """vLLM's reply, in the order of the request."""

    id: str = Field(examples=["score-6f1c"])
    object: Literal["list"] = "list"
    created: int = Field(description="Seconds since 1970.", examples=[1790000000])
    model: str = Field(description="The reranker that ran.", examples=["default"])
    data: list[Scored] = Field(description="One for each pair.")
    usage: Usage


class Classify(Wire):
    """What vLLM's clients send."""

    input: Texts = Field(description="Texts; token ids are refused.", examples=[["Where is my parcel?"]])
    model: str | None = Field(None, description="Name of the served classifier.", examples=["mini/heads"])
    use_activation: bool | None = Field(None, description="false gives log-odds.", examples=[True])


class Classified(Reply):
    """The classes of a text."""

    index: int = Field(description="Which text.", examples=[0])
    label: str | None = Field(description="The likeliest class.", examples=["intent:other"])
    probs: list[float] = Field(description="Of each class, in the order of /v1/tasks' labels.", examples=[[0.9, 0.1]])
    num_classes: int = Field(description="How many there are.", examples=[11])


class ClassifyReply(Reply):
    """vLLM's reply of a classifier."""

    id: str = Field(examples=["classify-6f1c"])
    object: Literal["list"] = "list"
    created: int = Field(description="Seconds since 1970.", examples=[1790000000])
    model: str = Field(description="The model that ran.", examples=["mini/heads"])
    data: list[Classified] = Field(description="One for each text.")
    usage: Usage


def _which(body: object) -> str:
    keys = body.keys() if isinstance(body, dict) else set(getattr(body, "model_fields_set", ()))
    return "infinity" if "raw_scores" in keys else "vllm"


Body = Annotated[
    Annotated[Classify, Tag("vllm")] | Annotated[infinity.Classify, Tag("infinity")], Discriminator(_which)
]


def routes(service: Service) -> APIRouter:
    """``/score`` and ``/classify``."""
    router = APIRouter(route_class=JSONRoute, tags=["classify"])

    async def score(request: Request, body: Score) -> Response:
        """How relevant each document is to its query, in the order that they came in."""
        return await _score(service, request, body)

    async def classify(request: Request, body: Body) -> Response:
        """The classes of each text."""
        if isinstance(body, infinity.Classify):
            speaks(request, INFINITY)
            return await infinity.classify(service, request, body)
        return await _classify(service, request, body)

    async def classes(request: Request, body: Classify) -> Response:
        """The classes of each text, as vLLM sends them."""
        return await _classify(service, request, body)

    for path in ("/score", "/v1/score", "/vllm/score", "/vllm/v1/score"):
        router.post(path, response_model=ScoreReply, include_in_schema=path == "/v1/score")(score)
    router.post("/classify", response_model=ClassifyReply | infinity.ClassifyReply)(classify)
    router.post("/vllm/classify", response_model=ClassifyReply)(classes)
    return router


async def _score(service: Service, request: Request, body: Score) -> Response:
    queries, documents = body.sides()
    if not documents or not all(map(str.strip, queries)):
        raise Fault("invalid", "a query is blank, or no documents came; expected words on both sides.")
    if len(documents) > service.settings.limits.documents:
        most = service.settings.limits.documents
        raise Fault("invalid", f"{len(documents)} pairs came; expected at most {most}.")
    name, reranker = service.catalog.reranker(body.model)

    def work() -> tuple[list[float], int]:
        of: dict[str, list[int]] = {}
        for i, query in enumerate(queries):  # one query with many documents is one ask
            of.setdefault(query, []).append(i)
        asks = [reranker.ask(query, [documents[i] for i in mine])[0] for query, mine in of.items()]
        scores, tokens = service.judge(name, reranker.scorer, asks)
        z = np.empty(len(queries))
        for mine, found in zip(of.values(), scores, strict=True):
            z[mine] = found.log_odds.mean(axis=1)
        return z.tolist(), tokens

    z, tokens = await service.run(request, sum(map(len, queries)) + sum(map(len, documents)), work)
    values = z if body.use_activation is False else logistic(z).tolist()
    data = [{"index": i, "object": "score", "score": value} for i, value in enumerate(values)]
    return reply({"id": new_id("score"), **_frame(name, tokens), "data": data})


async def _classify(service: Service, request: Request, body: Classify) -> Response:
    texts = [body.input] if isinstance(body.input, str) else body.input
    found = await classified(service, request, texts, body.model)
    data = [
        {
            "index": i,
            "label": found.labels[max(range(len(row)), key=row.__getitem__)],
            "probs": row if body.use_activation is False else logistic(row).tolist(),
            "num_classes": len(row),
        }
        for i, row in enumerate(found.log_odds)
    ]
    return reply({"id": new_id("classify"), **_frame(found.model, found.tokens), "data": data})


def _frame(model: str, tokens: int) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "created": now(), "model": model, "usage": usage}
