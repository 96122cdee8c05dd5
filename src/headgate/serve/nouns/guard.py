"""``/v1/guard``: by a guard that is served, or by rules that come along."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.guard import Guard
from headgate.serve.faults import Fault
from headgate.serve.nouns.common import Inputs, Label, Usage
from headgate.serve.service import Service
from headgate.serve.wire import JSONRoute, Reply, Wire, documented, facts, new_id, reply
from headgate.verdict import Verdict

Rules = list[Label] | dict[str, Label]


class Ruled(Wire):
    """By which rules to judge."""

    guard: str | None = Field(None, description="Name of a served guard.", examples=["default"])
    forbid: Rules | None = Field(
        None,
        description="In place of a served one: labels, or rules with their labels. If the default guard's model knows "
        "them all, it judges them; else the zero-shot model does.",
        examples=[["injection", "toxic"]],
    )
    threshold: float | None = Field(
        None, description="With forbid: rules are broken from this probability up; needed where the model brings none.",
        examples=[0.9],
    )  # fmt: skip

    def chosen(self, service: Service) -> tuple[str | None, str, Guard]:
        """Name, model and guard; the name is None for rules that came along.

        Raises:
            Fault: No such guard, or both came.
            ValueError: Rules that mean nothing, or have no threshold.
        """
        if self.forbid is None:
            if self.threshold is not None:
                raise Fault("invalid", "threshold came without forbid; a served guard has its own.", param="threshold")
            found = service.catalog.named("guard", self.guard)
            return found.name, found.model, found.task
        if self.guard is not None:
            raise Fault("invalid", "guard and forbid came together; expected one of the two.", param="forbid")
        model, scorer = _judge_of(service, self.forbid)
        return None, model, Guard(scorer, self.forbid, threshold=self.threshold)


class Guarded(Inputs, Ruled):
    """What to judge, and by which rules."""


class GuardReply(Reply):
    """A verdict on each input."""

    id: str = Field(examples=["guard-6f1c"])
    object: Literal["guard"] = "guard"
    guard: str | None = Field(description="The guard that ran; null for rules that came along.", examples=["default"])
    model: str = Field(description="The model that it ran on.", examples=["mini/guard"])
    allowed: bool = Field(description="All of them may pass.", examples=[False])
    results: list[documented(Verdict)] = Field(description="One for each input, in order.")  # type: ignore[valid-type]
    usage: Usage


def routes(service: Service) -> APIRouter:
    """``/v1/guard``."""
    router = APIRouter(route_class=JSONRoute, tags=["guard"])

    @router.post("/v1/guard", response_model=GuardReply)
    async def guard(request: Request, body: Guarded) -> Response:
        """Allow each input or not, and say which rules broke."""
        texts = body.texts(service.settings.limits.documents)
        name, model, chosen = body.chosen(service)
        verdicts, tokens = await service.decide(request, model, chosen, texts)
        if name is not None:
            service.meter.judged(name, verdicts)
        return reply(
            {
                "id": new_id("guard"),
                "object": "guard",
                "guard": name,
                "model": model,
                "allowed": not any(verdict.blocks for verdict in verdicts),
                "results": [facts(verdict) for verdict in verdicts],
                "usage": {"total_tokens": tokens},
            }
        )

    return router


def _judge_of(service: Service, forbid: Rules) -> tuple[str, Any]:
    """The model that judges these labels."""
    labels = set(forbid.values() if isinstance(forbid, dict) else forbid)
    if ("guard", "default") in service.catalog.served:
        found = service.catalog.named("guard", "default")
        scorer = found.task.scorer
        known = {*getattr(scorer, "thresholds", ()), *(scorer.labels or ())}
        if labels <= known:
            return found.model, scorer
    zero_shot = service.catalog.part("zero_shot")
    return zero_shot.model, zero_shot.task
