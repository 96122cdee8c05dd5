"""``/v1/route``: by a router that is served, or by routes that come along."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.decision import Decision
from headgate.route import Router
from headgate.serve.nouns.common import Inputs, Label, Usage
from headgate.serve.service import Service
from headgate.serve.wire import JSONRoute, Reply, documented, facts, new_id, reply


class Route(Inputs):
    """What to route, and where it may go."""

    router: str | None = Field(None, description="Name of a served router.", examples=["support"])
    routes: list[Label] | dict[str, Label] | None = Field(
        None,
        description="In place of a served one: names, or names with what they are about.",
        examples=[{"billing": "invoices, prices, payments", "delivery": "parcels and orders"}],
    )
    threshold: float | dict[str, float] | None = Field(
        None, description="With routes: a route is chosen from this probability up.", examples=[0.5]
    )
    multi: bool | None = Field(None, description="With routes: several may be chosen.", examples=[False])
    gap: float | None = Field(None, description="With routes: log-odds to the runner-up.", examples=[0.0])
    nulls: list[Label] | None = Field(
        None, description="With routes: what stands for none of them.", examples=[["small talk"]]
    )
    top_k: int | None = Field(None, description="With routes and multi: at most so many.", examples=[2])

    def settings(self) -> dict[str, Any]:
        """What came of those that a served router has of its own."""
        names = ("threshold", "multi", "gap", "nulls", "top_k")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class RouteReply(Reply):
    """A decision for each input."""

    id: str = Field(examples=["route-6f1c"])
    object: Literal["route"] = "route"
    router: str | None = Field(
        description="The router that ran; null for routes that came along.", examples=["support"]
    )
    model: str = Field(description="The model that it ran on.", examples=["mini/route"])
    results: list[documented(Decision)] = Field(description="One for each input, in order.")  # type: ignore[valid-type]
    usage: Usage


def routes(service: Service) -> APIRouter:
    """``/v1/route``."""
    router = APIRouter(route_class=JSONRoute, tags=["route"])

    @router.post("/v1/route", response_model=RouteReply)
    async def route(request: Request, body: Route) -> Response:
        """Choose a route for each input, several, or none of them."""
        texts = body.texts(service.settings.limits.documents)
        name, model, chosen = _router(service, body)
        decisions, tokens = await service.decide(request, model, chosen, texts)
        if name is not None:
            service.meter.routed(name, decisions)
        return reply(
            {
                "id": new_id("route"),
                "object": "route",
                "router": name,
                "model": model,
                "results": [facts(decision) for decision in decisions],
                "usage": {"total_tokens": tokens},
            }
        )

    return router


def _router(service: Service, body: Route) -> tuple[str | None, str, Router]:
    given = body.settings()
    if body.routes is None:
        if given:
            raise ValueError(f"{sorted(given)} came without routes; a served router has its own.")
        found = service.catalog.named("router", body.router)
        return found.name, found.model, found.task
    if body.router is not None:
        raise ValueError("router and routes came together; expected one of the two.")
    found = service.catalog.part("zero_shot")
    return None, found.model, Router(found.task, body.routes, **given)
