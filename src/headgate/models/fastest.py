"""Which dtype is fastest on this CPU: what it says it can do, then a short measurement, kept for the next time.

Only what leaves a row's score to the row is tried; int8 and other backends have to be asked for.
"""

import json
import logging
import os
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn

from headgate.models.packed.linear import ROWS, Linear, bfloat16_units
from headgate.runtime.cache_folder import cache_folder

log = logging.getLogger(__name__)

LEAST = 256
"""Width of the narrowest model for which bfloat16 is tried: in narrower ones it is not products that take the time."""
GAIN = 1.3
"""How many times faster it must be: less is not worth the digits."""
SECONDS = 0.5
"""Spent on a measurement at most."""


class Choice(NamedTuple):
    """A dtype, and why."""

    dtype: torch.dtype
    why: str


def fastest(width: int) -> Choice:
    """The dtype for a model on this CPU, measured once for each width and number of threads.

    Args:
        width: Of the model's states.
    """
    if width < LEAST:
        return Choice(torch.float32, f"a model of width {width} gains nothing by bfloat16")
    units = bfloat16_units()
    if not units:
        return Choice(torch.float32, "this CPU does not multiply bfloat16 itself")
    can: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    key = f"{can.get('cpu_name')}, torch {torch.__version__}, {torch.get_num_threads()} threads, width {width}"
    path = cache_folder() / "fastest.json"
    known = _read(path)
    gain = known.get(key)
    if gain is None:
        gain = round(_gain(width), 2)
        _write(path, {**known, key: gain})
    dtype = torch.bfloat16 if gain >= GAIN else torch.float32
    choice = Choice(dtype, f"bfloat16 products are {gain} times as fast as float32's on this CPU ({units[0]})")
    log.info("%s, since %s", str(dtype).removeprefix("torch."), choice.why)
    return choice


def _gain(width: int) -> float:
    """How many times as fast bfloat16 is, by the best of interleaved runs of a feed-forward product."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        layer, x = nn.Linear(width, 4 * width), torch.randn(ROWS, width)
        tried = {dtype: Linear([layer], dtype) for dtype in (torch.float32, torch.bfloat16)}
        best = dict.fromkeys(tried, float("inf"))
        end, runs = perf_counter() + SECONDS, 0
        while runs < 3 or (runs < 30 and perf_counter() < end):
            for dtype, product in tried.items():
                start = perf_counter()
                product(x)
                best[dtype] = min(best[dtype], perf_counter() - start)
            runs += 1
    return best[torch.float32] / best[torch.bfloat16]


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, float)} if isinstance(found, dict) else {}


def _write(path: Path, known: dict[str, float]) -> None:
    """Keep what was measured; where nothing can be written, the next process measures again."""
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as e:
        log.info("the measurement could not be kept (%s)", e)
