"""The picture in memory of what the journal holds: jobs by id, those that wait, those that ended. Writes nothing."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterable

from minimon_server.jobs.job import Job, State
from minimon_server.jobs.store import Bounds
from minimon_server.jobs.waiting import Waiting


class Known:
    """Follows what was committed, on one thread; what lies beyond the bounds is named here and removed by a sweep."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.waiting = Waiting()
        self.running: dict[str, Job] = {}
        self._ended: OrderedDict[str, Job] = OrderedDict()  # in the order in which they ended
        self._states: Counter[State] = Counter()
        self._picture_bytes = 0
        self._ended_text = 0

    def put(self, job: Job) -> None:
        """Follow one committed record, new or changed."""
        self.drop(job, served=job.state is State.PROGRESS)
        self.jobs[job.id] = job
        self._states[job.state] += 1
        if job.state is State.PENDING:
            self.waiting.put(job)
        elif job.state is State.PROGRESS:
            self.running[job.id] = job
        else:
            self._ended[job.id] = job
            self._picture_bytes += _kept_bytes(job)
            self._ended_text += job.text_size

    def drop(self, job: Job, *, served: bool = False) -> None:
        """Forget one job; `served` when that is because its turn has come."""
        before = self.jobs.pop(job.id, None)
        if before is None:
            return
        self._states[before.state] -= 1
        if before.state is State.PENDING:
            self.waiting.take(before, served=served)
        elif before.state is State.PROGRESS:
            del self.running[before.id]
        else:
            del self._ended[before.id]
            self._picture_bytes -= _kept_bytes(before)
            self._ended_text -= before.text_size

    def drop_all(self, jobs: Iterable[Job]) -> None:
        """Forget several jobs."""
        for job in jobs:
            self.drop(job)

    def counts(self) -> dict[State, int]:
        """Return how many jobs there are in each state."""
        return {state: self._states[state] for state in State}

    def newest(self, limit: int, states: frozenset[State]) -> list[Job]:
        """Return jobs in these states, the last accepted first."""
        found = (job for job in self.jobs.values() if job.state in states)
        return heapq.nlargest(limit, found, key=lambda job: job.number)

    def too_many(self, bounds: Bounds, now: float) -> list[Job]:
        """Return the ended jobs that are beyond the bounds, the first to end first."""
        found = []
        extra, text = len(self._ended) - bounds.ended, self._ended_text - bounds.text_bytes
        for job in self._ended.values():
            if extra <= 0 and text <= 0 and now - (job.ended or now) <= bounds.ended_seconds:
                break
            extra, text = extra - 1, text - job.text_size
            found.append(job)
        return found

    def too_large(self, bounds: Bounds, besides: int) -> list[Job]:
        """Return the jobs whose pictures must go for the rest to fit, but for the first `besides`, which go anyway."""
        found = []
        size = self._picture_bytes
        for number, job in enumerate(self._ended.values()):
            if size <= bounds.picture_bytes:
                break
            size -= _kept_bytes(job)
            if number >= besides and _kept_bytes(job):
                found.append(job)
        return found

    @property
    def picture_bytes(self) -> int:
        """How large the kept pictures are together."""
        return self._picture_bytes


def _kept_bytes(job: Job) -> int:
    return 0 if job.removed else sum(picture.size for picture in job.pictures)
