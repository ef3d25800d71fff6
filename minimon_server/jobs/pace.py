"""How long jobs take, as measured: for those who ask when. Decides nothing."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from typing import Final

from minimon_server.engines.messages import DrawRequest

REMEMBERED: Final = 32
UNMEASURED_SECONDS: Final = 30
# Upper ends of the buckets of the metric, in seconds.
BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Pace:
    """Remembers the seconds and the work of the last jobs; a job's work is its steps times its pixels."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._work: deque[float] = deque(maxlen=REMEMBERED)
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, request: DrawRequest, seconds: float) -> None:
        """Measure one drawn job."""
        self._seconds.append(seconds)
        self._work.append(_work(request))
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def mean(self) -> float | None:
        """Return the seconds of a usual job, or None before there was one."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else None

    def of(self, request: DrawRequest) -> float | None:
        """Return the seconds that this request will likely take, or None before there was any other."""
        return _work(request) * sum(self._seconds) / sum(self._work) if self._seconds else None

    def retry_after(self) -> int:
        """Return the whole seconds after which a full queue has likely room for one more."""
        mean = self.mean()
        return UNMEASURED_SECONDS if mean is None else min(max(1, math.ceil(mean)), 3600)


def _work(request: DrawRequest) -> float:
    return float(sum(steps * pixels for steps, pixels in request.passes) * len(request.seeds))
