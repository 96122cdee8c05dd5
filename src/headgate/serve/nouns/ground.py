"""``/v1/ground``: is every sentence of an answer supported by some passage?"""

from dataclasses import replace
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.ground import Claim, Grounding
from headgate.serve.faults import Fault
from headgate.serve.nouns.common import Usage
from headgate.serve.service import Service
from headgate.serve.wire import JSONRoute, Reply, Wire, documented, facts, new_id, reply


class Passage(Wire):
    """A passage with more than its words."""

    text: str = Field(description="Its words.", examples=["The hub has a warranty of two years."])


class Ground(Wire):
    """An answer, and what it was made from."""

    answer: str = Field(description="What was answered.", examples=["The warranty lasts two years."])
    passages: list[str | Passage] = Field(
        description="What it was made from.", examples=[["The hub has a warranty of two years."]]
    )
    grounding: str | None = Field(None, description="Name of a served grounding.", examples=["default"])
    threshold: float | None = Field(
        None, ge=0, le=1, description="Sentences are supported from this probability up; the server may have one.",
        examples=[0.5],
    )  # fmt: skip
    contradiction: float | None = Field(
        None,
        ge=0,
        le=1,
        description="One that nothing supports is contradicted from this probability up.",
        examples=[0.8],
    )


class GroundReply(Reply):
    """How every sentence of the answer stands."""

    id: str = Field(examples=["ground-6f1c"])
    object: Literal["ground"] = "ground"
    grounding: str = Field(description="The grounding that ran.", examples=["default"])
    supported: bool = Field(description="Every claim is supported; false where there is none.", examples=[True])
    claims: list[documented(Claim)] = Field(description="In the order of the answer.")  # type: ignore[valid-type]
    usage: Usage


def routes(service: Service) -> APIRouter:
    """``/v1/ground``."""
    router = APIRouter(route_class=JSONRoute, tags=["ground"])

    @router.post("/v1/ground", response_model=GroundReply)
    async def ground(request: Request, body: Ground) -> Response:
        """Check an answer, sentence by sentence, against the passages it was made from, with citations."""
        passages = [one if isinstance(one, str) else one.text for one in body.passages]
        most = service.settings.limits.documents
        if len(passages) > most:
            raise Fault("invalid", f"{len(passages)} passages came; expected at most {most}.", param="passages")
        found = service.catalog.named("grounding", body.grounding)
        given = {"threshold": body.threshold, "contradiction": body.contradiction}
        task: Grounding = replace(found.task, **{key: value for key, value in given.items() if value is not None})

        def work() -> tuple[list[Claim], int]:
            asks = task.ask(body.answer, passages)
            scores, tokens = service.judge(found.name, task.scorer, asks) if asks else ([], 0)
            return task.decide(scores, body.answer, passages), tokens

        size = sum(map(len, passages)) * (1 + len(body.answer) // 100) + len(body.answer)  # each claim reads them all
        claims, tokens = await service.run(request, size, work)
        service.note(request, model=found.model, documents=len(passages), tokens=tokens, texts=[body.answer])
        return reply(
            {
                "id": new_id("ground"),
                "object": "ground",
                "grounding": found.name,
                "supported": bool(claims) and all(claim.supported for claim in claims),
                "claims": [facts(claim) for claim in claims],
                "usage": {"total_tokens": tokens},
            }
        )

    return router
