"""The jobs that wait, lane by lane, and how often each client was served. Decides no order: `lanes.pick` does."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from typing import TypeVar

from minimon_server.engines.messages import Stack
from minimon_server.jobs.job import Job, Priority
from minimon_server.jobs.lanes import Lane

Key = tuple[Priority, Stack, str]
K = TypeVar("K")


class Waiting:
    """The picture in memory of what the journal says is PENDING. One thread only."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._lanes: defaultdict[Key, list[int]] = defaultdict(list)
        self._of_client: defaultdict[tuple[Priority, str], list[int]] = defaultdict(list)
        self._clients: defaultdict[str, int] = defaultdict(int)
        self._served: dict[str, int] = {}
        self.text_size = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def of_client(self, client: str) -> int:
        """Return how many jobs of a client wait."""
        return self._clients.get(client, 0)

    def put(self, job: Job) -> None:
        """Let a job wait, at its place in the order of acceptance: one that was interrupted goes to the front."""
        if job.number in self._jobs:
            return
        if job.client not in self._served:
            # Whoever comes anew has no claim on the turns that were had before.
            self._served[job.client] = min(self._served.values(), default=0)
        self._jobs[job.number] = job
        insort(self._lanes[_key(job)], job.number)
        insort(self._of_client[job.priority, job.client], job.number)
        self._clients[job.client] += 1
        self.text_size += job.text_size

    def take(self, job: Job, *, served: bool) -> None:
        """Let a job wait no more; `served` counts a turn of its client."""
        if self._jobs.pop(job.number, None) is None:
            return
        _discard(self._lanes, _key(job), job.number)
        _discard(self._of_client, (job.priority, job.client), job.number)
        self.text_size -= job.text_size
        self._served[job.client] += served
        self._clients[job.client] -= 1
        if not self._clients[job.client]:
            del self._clients[job.client], self._served[job.client]

    def lanes(self) -> list[Lane]:
        """Return every lane in which something waits."""
        return [
            Lane(*key, waiting=len(numbers), oldest=self._jobs[numbers[0]].accepted, served=self._served[key[2]])
            for key, numbers in self._lanes.items()
        ]

    def first(self, lane: Lane) -> Job | None:
        """Return the job at the front of a lane."""
        numbers = self._lanes.get((lane.priority, lane.stack, lane.client))
        return self._jobs[numbers[0]] if numbers else None

    def position(self, job: Job) -> int | None:
        """Return 1 for the job that is likely next, 2 for the one after it; None when it does not wait.

        Counted by turns alone: what happens to be loaded, and who comes later, may still move it by a few.
        """
        if job.number not in self._jobs:
            return None
        own = bisect_left(self._of_client[job.priority, job.client], job.number)
        turn = self._served[job.client] + own
        ahead = own
        for (priority, client), numbers in self._of_client.items():
            if priority != job.priority:
                ahead += len(numbers) if priority == "player" else 0
            elif client != job.client:
                before = turn - self._served[client]
                ahead += min(max(before, 0), len(numbers))
                ahead += 0 <= before < len(numbers) and numbers[before] < job.number
        return ahead + 1


def _key(job: Job) -> Key:
    return job.priority, job.request.stack, job.client


def _discard(table: dict[K, list[int]], key: K, number: int) -> None:
    numbers = table[key]
    del numbers[bisect_left(numbers, number)]
    if not numbers:
        del table[key]
