"""Voyage AI: ``top_k`` for ``top_n``, and documents as plain strings."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.serve.ranking import Wanted, ranked
from headgate.serve.service import Service
from headgate.serve.wire import Reply, Wire, reply


class Rerank(Wire):
    """What Voyage's client sends."""

    query: str = Field(description="What the documents should answer.", examples=["how do I reset the hub?"])
    documents: list[str] = Field(description="In any order.", examples=[["Hold the button for ten seconds."]])
    model: str | None = Field(None, description="Name of a served reranker.", examples=["default"])
    top_k: int | None = Field(None, ge=0, description="At most so many results; absent for all.", examples=[3])
    return_documents: bool | None = Field(None, description="Send the documents back.", examples=[False])
    truncation: bool | None = Field(
        None, description="Accepted; nothing is cut: long documents are read in windows.", examples=[True]
    )


class Result(Reply):
    """One document of the ranking."""

    index: int = Field(description="Where it stood in the request.", examples=[0])
    relevance_score: float = Field(description="0 to 1.", examples=[0.91])
    document: str | None = Field(None, description="Its words, where they were asked for.")


class Usage(Reply):
    """What was read."""

    total_tokens: int = Field(description="Tokens of all documents.", examples=[41])


class RerankReply(Reply):
    """Voyage's reply."""

    object: Literal["list"] = "list"
    data: list[Result] = Field(description="Best first.")
    model: str = Field(description="The reranker that ran.", examples=["default"])
    usage: Usage


async def rerank(service: Service, request: Request, body: Rerank) -> Response:
    """A ranking as Voyage's client reads it."""
    found = await ranked(service, request, Wanted(body.query, body.documents, body.model, body.top_k))
    data = [
        {
            "index": hit.index,
            "relevance_score": score,
            **({"document": body.documents[hit.index]} if body.return_documents else {}),
        }
        for hit, score in zip(found.hits, found.scores, strict=True)
    ]
    return reply(
        {"object": "list", "data": data, "model": found.model, "usage": {"total_tokens": found.tokens}},
        headers={"x-headgate-meaning": found.meaning},
    )


def mount(router: APIRouter, service: Service) -> None:
    """Under its prefix."""

    async def voyage(request: Request, body: Rerank) -> Response:
        """Order documents for a query, as Voyage does."""
        return await rerank(service, request, body)

    router.post("/voyage/v1/rerank", response_model=RerankReply)(voyage)
    router.post("/voyage/rerank", response_model=RerankReply, include_in_schema=False)(voyage)
