"""Ray, imported where it is used: it takes a second, and a machine that only looks at a configuration needs none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from headgate import MissingExtraError


class MissingRayError(MissingExtraError):
    """Ray, or a part of it, is not installed; the message ends in the command that installs it."""

    def __init__(self, package: str, command: str) -> None:
        ImportError.__init__(self, f"{package} is not installed; run: {command}")


def imported(part: str = "ray") -> Any:
    """The module "ray", "ray.data" or "ray.serve".

    Raises:
        MissingRayError: It isn't installed.
    """
    try:
        return import_module(part)
    except ImportError as e:
        command = 'pip install "headgate-ray[serve]"' if part == "ray.serve" else "pip install headgate-ray"
        raise MissingRayError(part, command) from e


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; what was connected before stays so, what wasn't is shut down at the end.

    Args:
        address: Of a cluster, or "auto"; None starts one here, for this process alone, which reports to nobody.
    """
    ray = imported()
    if ray.is_initialized():
        yield ray
        return
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray Data's bars and its workers' lines would run through our own progress.
    ray.init(address=address, log_to_driver=False, logging_level="ERROR", **({} if address else _ALONE))
    try:
        yield ray
    finally:
        ray.shutdown()


_ALONE: dict[str, Any] = {"include_dashboard": False}
