"""Ray Serve: the application of ``headgate serve`` on cheap replicas, its models on others that batch across callers.

    HTTP -> front replicas (CPU): dialects, admission, decisions         the same FastAPI application
              | asks, by handle
              v
            scoring replicas (fractions of a GPU): one plan of what many callers ask

The front decides and never loads a model: where it would load one, it takes a stand-in that asks a scoring replica.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate_ray._ray import imported
from headgate_ray._scoring import Answer, Asked, Scoring, pages, standing_in

if TYPE_CHECKING:
    from ray.serve import Application

    from headgate.serve import Settings

SCORING = "headgate-scoring"
FRONT = "headgate"


@dataclass(frozen=True)
class Replicas:
    """How a deployment runs.

    Args:
        num: How many, or the fewest and the most, between which Serve scales by what is waiting.
        num_gpus: Of each; 0.25 lets four share one.
        num_cpus: Of each; also how many threads a model takes.
        ongoing: Requests that a replica may have at a time; more wait at those who send them.
    """

    num: int | tuple[int, int] = 1
    num_gpus: float = 0
    num_cpus: float = 1
    ongoing: int = 256

    def __post_init__(self) -> None:
        ends = self.num if isinstance(self.num, tuple) else (self.num, self.num)
        if not all(isinstance(end, int) for end in ends) or not 1 <= ends[0] <= ends[1]:
            raise ValueError(f"num is {self.num!r}; expected 1 or more, or the fewest and the most.")
        if self.num_gpus < 0 or self.num_cpus < 0 or self.ongoing < 1:
            raise ValueError(
                f"num_gpus is {self.num_gpus}, num_cpus {self.num_cpus} and ongoing {self.ongoing}; expected no less "
                "than nothing, and 1 request or more."
            )

    def options(self) -> dict[str, Any]:
        """As ``serve.deployment`` takes them."""
        found: dict[str, Any] = {"max_ongoing_requests": self.ongoing}
        found["ray_actor_options"] = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
        if isinstance(self.num, tuple):
            found["autoscaling_config"] = {"min_replicas": self.num[0], "max_replicas": self.num[1]}
        else:
            found["num_replicas"] = self.num
        return found


def application(
    settings: "Settings | str | Path | None" = None,
    *,
    front: Replicas | None = None,
    scoring: Replicas | None = None,
    batch: int = 64,
    wait: float = 0.005,
) -> "Application":
    """What ``headgate serve`` serves, as an application of Ray Serve.

        serve.run(headgate_ray.application("serve.yaml", scoring=Replicas(num=(1, 8), num_gpus=0.25)))

    Args:
        settings: As :func:`headgate.serve.application` takes them; replicas must find models and key files there.
        front: Replicas that speak HTTP and decide.
        scoring: Replicas that have the models; every one has all of them.
        batch: Pages of 2,000 characters that a replica scores together, whoever asked; a longer request goes alone.
        wait: Seconds that a page waits for company.

    Raises:
        MissingRayError: Ray Serve is not installed.
        CheckpointError: The file is damaged.
    """
    front, scoring = front or Replicas(), scoring or Replicas()
    if batch < 1 or wait < 0:
        raise ValueError(f"batch is {batch} and wait {wait}; expected 1 page or more, and no less than 0 seconds.")
    if scoring.ongoing < batch:
        raise ValueError(f"scoring.ongoing is {scoring.ongoing} and batch {batch}; expected as many, to fill a batch.")
    serve = imported("ray.serve")
    from headgate.serve import Settings, read_settings  # here, as it needs the extra "serve"

    known = Settings() if settings is None else settings
    known = known if isinstance(known, Settings) else read_settings(known)

    def build() -> Any:  # a function: Ray takes any other callable for the application itself
        return _app(known)

    scores = serve.deployment(name=SCORING, **scoring.options())(_scoring(batch, wait))
    http = serve.deployment(name=FRONT, **front.options())(serve.ingress(build)())
    bound: Application = http.bind(scores.bind())
    return bound


def _app(settings: "Settings") -> Any:
    """The front's FastAPI application, made where a replica begins."""
    from headgate.serve import application as served

    serve = imported("ray.serve")
    handle = serve.get_deployment_handle(SCORING, app_name=serve.get_replica_context().app_name)
    return served(settings, load=partial(standing_in, handle))


def _scoring(batch: int, wait: float) -> Any:
    """The deployment's class; made here, as its batches need Ray."""
    serve = imported("ray.serve")

    class Batched(Scoring):
        """Scores what callers ask at the same time in one plan."""

        @serve.batch(  # type: ignore[untyped-decorator]
            max_batch_size=batch,
            batch_wait_timeout_s=wait,
            batch_size_fn=partial(_together, batch),
        )
        async def score(self, asked: list[Asked]) -> Sequence[Answer]:
            # In a thread: the replica answers health checks meanwhile.
            return await asyncio.to_thread(self.answers, asked)

    return Batched


def _together(batch: int, asked: Sequence[Asked]) -> int:
    # Ray refuses one request that is larger than a batch; this one fills it.
    return min(batch, sum(map(pages, asked))) if len(asked) == 1 else sum(map(pages, asked))
