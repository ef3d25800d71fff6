"""The order in which lanes are served: one pure function, and no other place decides. Holds no queue and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from minimon_server.engines.messages import Stack
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
    stack: Stack
    client: str
    waiting: int
    oldest: float
    served: int


def pick(now: float, lanes: Sequence[Lane], loaded: Stack | None) -> list[Lane]:
    """Return the lanes in the order in which to try them for the next job.

    Players come before batches, until a batch has waited for a minute. Then fairness: the lanes whose clients are
    within `SLACK` jobs of the least served. Only among those does it count what is loaded: the same stack, then
    another stack of its model, which is a merge and no switch; a lane that younger jobs have overtaken by two minutes
    goes before them. Then the least served, then the oldest.
    """
    passing = [_lets_pass(now, lane) for lane in lanes]
    least: dict[bool, int] = {}
    for lane, batch in zip(lanes, passing, strict=True):
        least[batch] = min(lane.served, least.get(batch, lane.served))
    near = [lane.served <= least[batch] + SLACK for lane, batch in zip(lanes, passing, strict=True)]
    work = [_work(lane.stack, loaded) for lane in lanes]
    least_work = min((one for one, is_near in zip(work, near, strict=True) if is_near), default=_SWITCH)
    ready = [lane.oldest for lane, one, is_near in zip(lanes, work, near, strict=True) if is_near and one == least_work]
    overtaken = min(ready) - OVERTAKEN_SECONDS if least_work < _SWITCH else float("-inf")

    def turn(lane: Lane, is_near: bool) -> int:
        if not is_near:
            return _SWITCH + 1
        return -1 if lane.oldest < overtaken else _work(lane.stack, loaded)

    ranked = [
        ((batch, turn(lane, is_near), lane.served, lane.oldest, number), lane)
        for number, (lane, batch, is_near) in enumerate(zip(lanes, passing, near, strict=True))
    ]
    return [lane for _, lane in sorted(ranked, key=lambda one: one[0])]


_SWITCH: Final = 2


def _work(stack: Stack, loaded: Stack | None) -> int:
    """Return what a stack asks for: nothing (0), a merge upon the model that is loaded (1), another model (2)."""
    if stack == loaded:
        return 0
    return 1 if loaded is not None and stack.model == loaded.model else _SWITCH


def _lets_pass(now: float, lane: Lane) -> bool:
    return lane.priority == "batch" and now - lane.oldest < BATCH_SECONDS
