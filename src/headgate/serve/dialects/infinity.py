"""infinity: a document comes back as a plain string, and ``/classify`` as lists of classes."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.scores import logistic
from headgate.serve.classifying import classified
from headgate.serve.ranking import Wanted, ranked
from headgate.serve.service import Service
from headgate.serve.wire import Reply, Wire, new_id, now, reply


class Rerank(Wire):
    """What infinity's client sends."""

    query: str = Field(description="What the documents should answer.", examples=["how do I reset the hub?"])
    documents: list[str] = Field(description="In any order.", examples=[["Hold the button for ten seconds."]])
    model: str | None = Field(None, description="Name of a served reranker.", examples=["default/not-specified"])
    top_n: int | None = Field(None, ge=0, description="At most so many results; absent for all.", examples=[3])
    return_documents: bool | None = Field(None, description="Send the documents back.", examples=[False])
    raw_scores: bool | None = Field(None, description="Log-odds in place of probabilities.", examples=[False])


class Result(Reply):
    """One document of the ranking."""

    relevance_score: float = Field(description="0 to 1, or log-odds where raw_scores was set.", examples=[0.91])
    index: int = Field(description="Where it stood in the request.", examples=[0])
    document: str | None = Field(None, description="Its words, where they were asked for.")


class Usage(Reply):
    """What was read."""

    prompt_tokens: int = Field(description="The same.", examples=[41])
    total_tokens: int = Field(description="Tokens of all texts.", examples=[41])


class RerankReply(Reply):
    """infinity's reply."""

    object: Literal["rerank"] = "rerank"
    results: list[Result] = Field(description="Best first.")
    model: str = Field(description="The reranker that ran.", examples=["default"])
    usage: Usage
    id: str = Field(examples=["infinity-6f1c"])
    created: int = Field(description="Seconds since 1970.", examples=[1790000000])


class Classify(Wire):
    """What infinity's client sends to a classifier."""

    input: str | list[str] = Field(description="Texts.", examples=[["Where is my parcel?"]])
    model: str | None = Field(None, description="Name of the served classifier.", examples=["default/not-specified"])
    raw_scores: bool | None = Field(None, description="Log-odds in place of probabilities.", examples=[False])


class Class(Reply):
    """One class of a text."""

    score: float = Field(description="0 to 1, or log-odds where raw_scores was set.", examples=[0.97])
    label: str = Field(description="The class.", examples=["injection:injection"])


class ClassifyReply(Reply):
    """infinity's reply of a classifier."""

    object: Literal["classify"] = "classify"
    data: list[list[Class]] = Field(description="For each text its classes, best first.")
    model: str = Field(description="The model that ran.", examples=["mini/heads"])
    usage: Usage
    id: str = Field(examples=["infinity-6f1c"])
    created: int = Field(description="Seconds since 1970.", examples=[1790000000])


async def rerank(service: Service, request: Request, body: Rerank) -> Response:
    """A ranking as infinity's client reads it."""
    found = await ranked(service, request, Wanted(body.query, body.documents, body.model, body.top_n))
    results = [
        {
            "relevance_score": hit.log_odds if body.raw_scores else score,
            "index": hit.index,
            "document": body.documents[hit.index] if body.return_documents else None,
        }
        for hit, score in zip(found.hits, found.scores, strict=True)
    ]
    return reply(
        {"object": "rerank", "results": results, **_frame(found.model, found.tokens)},
        headers={"x-headgate-meaning": found.meaning},
    )


async def classify(service: Service, request: Request, body: Classify) -> Response:
    """The classes of each text, best first."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    found = await classified(service, request, texts, body.model)
    data = []
    for row in found.log_odds:
        p = row if body.raw_scores else logistic(row).tolist()
        classes = [{"score": score, "label": label} for score, label in zip(p, found.labels, strict=True)]
        data.append(sorted(classes, key=lambda one: -one["score"]))
    return reply({"object": "classify", "data": data, **_frame(found.model, found.tokens)})


def mount(router: APIRouter, service: Service) -> None:
    """Under its prefix."""

    async def reranked(request: Request, body: Rerank) -> Response:
        """Order documents for a query, as infinity does."""
        return await rerank(service, request, body)

    async def classes(request: Request, body: Classify) -> Response:
        """The classes of each text, as infinity sends them."""
        return await classify(service, request, body)

    router.post("/infinity/rerank", response_model=RerankReply)(reranked)
    router.post("/infinity/classify", response_model=ClassifyReply)(classes)


def _frame(model: str, tokens: int) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"model": model, "usage": usage, "id": new_id("infinity"), "created": now()}
