"""Where a job stands, for whoever waits: its place in the queue, the seconds to its end. Decides no order."""

from __future__ import annotations

from dataclasses import dataclass

from minimon_server.engines.messages import Progress
from minimon_server.jobs.events import Events
from minimon_server.jobs.job import Job, State
from minimon_server.jobs.pace import Pace
from minimon_server.jobs.store import JobStore


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands: place in the queue, seconds to its end, what its engine does.

    `steps` are those of the drawing, also while something else is done.
    """

    position: int | None
    eta_seconds: float | None
    progress: Progress | None
    steps: Progress | None


def standing_of(job: Job, store: JobStore, events: Events, pace: Pace) -> Standing:
    """Return where a job stands now."""
    position = store.position(job)
    progress, steps = events.latest(job.id) if job.state is State.PROGRESS else (None, None)
    runs = store.counts()[State.PROGRESS] > 0
    return Standing(position, _eta(job, position, steps, pace, runs=runs), progress, steps)


def _eta(job: Job, position: int | None, steps: Progress | None, pace: Pace, *, runs: bool) -> float | None:
    own, mean = pace.of(job.request), pace.mean()
    if job.has_ended or own is None or mean is None:
        return None
    if position is None:
        return own * (1 - steps.current / max(steps.total, 1)) if steps else own
    return own + mean * (position - 1 + runs / 2)
