"""The order in which lanes are served: one pure function, and no other place decides. Holds no queue and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from minimon_server.jobs.job import Priority

SLACK: Final = 2
BATCH_SECONDS: Final = 60.0
OVERTAKEN_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Lane:
    """The waiting jobs of one client that need the same things loaded: first in, first out.

    `oldest` is when the first of them was accepted; `served` counts the client's jobs that were started, its other
    lanes included. A client that comes anew begins at the least count of those who wait.
    """

    priority: Priority
    stack: str
    client: str
    waiting: int
    oldest: float
    served: int


def pick(now: float, lanes: Sequence[Lane], loaded: str | None) -> list[Lane]:
    """Return the lanes in the order in which to try them for the next job.

    Players come before batches, until a batch has waited for a minute. Then fairness: the lanes whose clients are
    within `SLACK` jobs of the least served. Only among those does it count what is loaded, and a lane that younger
    jobs have overtaken by two minutes goes before it. Then the least served, then the oldest.
    """
    passing = [_lets_pass(now, lane) for lane in lanes]
    least: dict[bool, int] = {}
    for lane, batch in zip(lanes, passing, strict=True):
        least[batch] = min(lane.served, least.get(batch, lane.served))
    near = [lane.served <= least[batch] + SLACK for lane, batch in zip(lanes, passing, strict=True)]
    ready = [lane.oldest for lane, is_near in zip(lanes, near, strict=True) if is_near and lane.stack == loaded]
    overtaken = min(ready) - OVERTAKEN_SECONDS if ready else float("-inf")

    def turn(lane: Lane, is_near: bool) -> int:
        if not is_near:
            return 3
        if lane.oldest < overtaken:
            return 0
        return 1 if lane.stack == loaded else 2

    ranked = [
        ((batch, turn(lane, is_near), lane.served, lane.oldest, number), lane)
        for number, (lane, batch, is_near) in enumerate(zip(lanes, passing, near, strict=True))
    ]
    return [lane for _, lane in sorted(ranked, key=lambda one: one[0])]


def _lets_pass(now: float, lane: Lane) -> bool:
    return lane.priority == "batch" and now - lane.oldest < BATCH_SECONDS
