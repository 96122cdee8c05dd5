"""NVIDIA NIM: ``/v1/ranking`` of passages, in logits."""

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.serve.ranking import Wanted, ranked
from headgate.serve.service import Service
from headgate.serve.wire import JSONRoute, Reply, Wire, reply


class Words(Wire):
    """A query or a passage."""

    text: str = Field(description="Its words.", examples=["Hold the button for ten seconds."])


class Ranking(Wire):
    """What NVIDIA's clients send."""

    query: Words = Field(description="What the passages should answer.", examples=[{"text": "how do I reset the hub?"}])
    passages: list[Words] = Field(description="In any order.", examples=[[{"text": "Hold the button."}]])
    model: str | None = Field(None, description="Name of a served reranker.", examples=["default"])
    truncate: str | None = Field(
        None, description="Accepted; nothing is cut: long passages are read in windows.", examples=["END"]
    )


class Ranked(Reply):
    """One passage of the ranking."""

    index: int = Field(description="Where it stood in the request.", examples=[0])
    logit: float = Field(description="Log-odds.", examples=[2.31])


class RankingReply(Reply):
    """NIM's reply."""

    rankings: list[Ranked] = Field(description="Best first.")


def routes(service: Service) -> APIRouter:
    """``/v1/ranking``."""
    router = APIRouter(route_class=JSONRoute, tags=["rerank"])

    async def ranking(request: Request, body: Ranking) -> Response:
        """Order passages for a query, as NIM does."""
        texts = [passage.text for passage in body.passages]
        found = await ranked(service, request, Wanted(body.query.text, texts, body.model))
        rankings = [{"index": hit.index, "logit": hit.log_odds} for hit in found.hits]
        return reply({"rankings": rankings}, headers={"x-headgate-meaning": found.meaning})

    for path in ("/v1/ranking", "/nim/v1/ranking"):
        router.post(path, response_model=RankingReply, include_in_schema=path == "/v1/ranking")(ranking)
    return router
