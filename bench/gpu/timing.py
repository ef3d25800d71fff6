"""How long a call takes, as whoever waits for it sees it; judges nothing.

One clock for every device: the wall's, from an idle device to an idle device, so that launches count as they do for a
server that waits for its picture.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

WARM_UP: Final = 3
FEWEST: Final = 3  # calls that are timed, however long they take


@dataclass(frozen=True)
class Effort:
    """When to stop: after so many calls, or after so many seconds once `FEWEST` calls were made."""

    calls: int
    seconds: float


@dataclass(frozen=True)
class Times:
    """Milliseconds a call, of all calls that were timed."""

    median: float
    low: float
    high: float
    calls: int


def settle(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(call: Callable[[], object], device: torch.device, effort: Effort) -> Times:
    """Time the call, after some calls that do not count."""
    for _ in range(min(WARM_UP, effort.calls)):
        call()
    settle(device)
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < effort.calls and (len(took) < FEWEST or time.perf_counter() - began < effort.seconds):
        start = time.perf_counter()
        call()
        settle(device)
        took.append(1000 * (time.perf_counter() - start))
    return Times(statistics.median(took), min(took), max(took), len(took))
