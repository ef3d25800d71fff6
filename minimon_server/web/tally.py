"""What the server counts: requests and their seconds, errors, creatures, as plain numbers. `metrics` tells them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

from starlette.types import Scope

from minimon_server.creatures.rarity import RARITIES
from minimon_server.errors import MinimonError

# Upper ends of the latency buckets, in seconds: fine where a creature is made, coarse up to a held request.
BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED: Final = "unmatched"
EDGE: Final = "edge"
OTHER_METHOD: Final = "other"


class Series:
    """The requests of one route, method and status: how many fell into each bucket, and their seconds together."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0


class Tally:
    """Counts on one thread, in well under a microsecond a request; whoever scrapes does the sorting.

    No client can make it grow: paths that lead nowhere are one route, methods that nobody knows are one method.
    """

    def __init__(self) -> None:
        self.series: dict[tuple[str, str, int | None], Series] = {}
        self.creatures: dict[str, int] = dict.fromkeys(RARITIES, 0)
        self.on_demand = dict.fromkeys(RARITIES, 0)  # drawn while a client waited
        self.remote_names = 0  # all other creatures have local ones
        self.connections = 0  # open now, on all listeners
        self.turned_away = 0  # connections beyond the limit
        self.errors = Counter(dict.fromkeys(sorted(_codes(MinimonError)), 0))

    def request(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count one answered request; `status` is None when the client left before there was an answer."""
        method = scope["method"]
        route = scope.get("minimon.route")
        if route is None:
            route = UNMATCHED
            if method not in METHODS:
                method = OTHER_METHOD
        self._count(route, method, status, seconds)

    def refused(self, code: str, method: str | None, status: int | None, seconds: float) -> None:
        """Count one request that the edge refused, with an error that was told if there is a status."""
        self._count(EDGE, method if method in METHODS else OTHER_METHOD, status, seconds)
        if status is not None:
            self.errors[code] += 1

    def _count(self, route: str, method: str, status: int | None, seconds: float) -> None:
        key = (route, method, status)
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series()
        series.buckets[bisect_left(BOUNDS, seconds)] += 1
        series.seconds += seconds


def _codes(error: type[MinimonError]) -> set[str]:
    return {error.code}.union(*(_codes(kind) for kind in error.__subclasses__()))
