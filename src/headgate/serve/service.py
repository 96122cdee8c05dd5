"""What all endpoints work with: the catalog of the moment, the desk, the meter, and how to change the catalog."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request

from headgate.errors import HeadgateError
from headgate.hosting import away
from headgate.runtime.worker import Worker
from headgate.scores import Ask, Scorer, Scores, judge
from headgate.serve.catalog import Catalog, Loader, stocked
from headgate.serve.desk import Desk
from headgate.serve.faults import Fault
from headgate.serve.meter import Meter
from headgate.serve.settings import Settings, on_device, read_settings

T = TypeVar("T")
log = logging.getLogger("headgate.serve")


def size_of(value: Any) -> int:  # noqa: ANN401  what JSON can hold
    """Characters of all strings within."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, Sequence) else 0


class Service:
    """One application's state.

    Args:
        settings: What is served.
        load: Where scorers come from.
    """

    def __init__(self, settings: Settings, load: Loader) -> None:
        self.settings, self._load = settings, load
        self.meter = Meter()
        self.desk = Desk(settings.limits, self.meter)
        self.worker = Worker(wait=0, max_waiting=100_000_000)  # the desk is the bound
        self.meter.watch(self.worker)
        self.draining = False
        self._catalog: Catalog | None = None
        self._changing = asyncio.Lock()
        self._failed: str | None = None

    @property
    def catalog(self) -> Catalog:
        """What is served now, or a Fault: models are being loaded."""
        if self._catalog is None:
            raise Fault("not_ready", f"{self._failed or 'models are being loaded'}; ask again later.", retry_after=2)
        return self._catalog

    @property
    def ready(self) -> bool:
        """New requests are welcome."""
        return self._catalog is not None and not self.draining

    async def start(self) -> None:
        """Load what is served; whoever asks meanwhile is told to wait.

        Raises:
            HeadgateError: Something can't be loaded.
        """
        try:
            await self._change(self.settings)
        except Exception as e:
            self._failed = f"models can't be loaded: {e}"
            log.error("%s", self._failed)
            raise

    async def reload(self) -> None:
        """Read the file again and serve what it says; nothing changes if anything of it is wrong.

        Requests under way end with what they began with. Limits, keys and origins stay until a restart.

        Raises:
            Fault: There is no file, or it, or a model, is damaged.
        """
        path = self.settings.path
        if path is None:
            raise Fault("invalid", "this server was started without a file; start it with --config to reload one.")
        try:
            await self._change(on_device(await away(read_settings, path), self.settings.device))
        except (HeadgateError, OSError, ValueError, TypeError) as e:
            self.meter.reloaded("failed")
            log.error("reload failed, and everything stays as it was: %s", e)
            raise Fault("invalid", f"everything stays as it was: {e}") from e
        self.meter.reloaded("ok")
        log.info("reloaded %s", path)

    async def run(self, request: Request, size: int, work: Callable[[], T]) -> T:
        """See :meth:`Desk.run`."""
        return await self.desk.run(request, size, work)

    async def decide(self, request: Request, model: str, task: Any, texts: Sequence[Any]) -> tuple[Any, int]:  # noqa: ANN401
        """What a router or a guard says of each text or conversation, and the tokens of all.

        Args:
            request: Who asks.
            model: Its name, for metrics and the log.
            task: The router or guard.
            texts: At least one.
        """

        def work() -> tuple[Any, int]:
            scores, tokens = self.judge(model, task.scorer, task.ask(texts))
            return task.decide(scores), tokens

        found, tokens = await self.run(request, size_of(texts), work)
        self.note(request, model=model, documents=len(texts), tokens=tokens, texts=texts)
        return found, tokens

    def judge(self, model: str, scorer: Scorer, asks: Sequence[Ask]) -> tuple[list[Scores], int]:
        """Scores, and the tokens of all texts, which are counted."""
        found = judge(scorer, asks)
        return found, self.meter.read(model, found)

    def note(self, request: Request, **facts: Any) -> None:  # noqa: ANN401  what JSON can hold
        """Write these into the request's line of log; texts only where they are wanted there."""
        texts = facts.pop("texts", None)
        kept = {**facts, "texts": texts} if self.settings.log_texts and texts is not None else facts
        request.scope.setdefault("headgate.log", {}).update(kept)

    def close(self) -> None:
        """End the worker; what waits for it fails."""
        self.worker.close()

    async def _change(self, settings: Settings) -> None:
        async with self._changing:  # of two reloads the later one is what is served
            # Not through `away`, whose threads are for calls that wait.
            self._catalog = await asyncio.to_thread(stocked, settings, self._load, self.worker)
            self.settings = settings
