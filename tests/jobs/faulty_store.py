"""A store around another that does not answer when a test says so: unavailable, or unknown with or without the deed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from minimon_server.engines.messages import Phase, Stack
from minimon_server.jobs.job import Draft, Fence, Job, PictureFile, State
from minimon_server.jobs.store import JobStore, Swept, Unavailable, Unknown, Verdict

T = TypeVar("T")
Fault = Literal["unavailable", "unknown, not done", "unknown, done"]
FAULTS: tuple[Fault, ...] = ("unavailable", "unknown, not done", "unknown, done")


class FaultyStore:
    """Fails the next calls of one name, each in one way, then works."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.faults: dict[str, list[Fault]] = {}
        self.met: list[tuple[str, Fault]] = []

    @property
    def trouble(self) -> str | None:
        return self.store.trouble

    async def _call(self, name: str, job_id: str | None, work: Callable[[], Awaitable[T]]) -> T:
        if not self.faults.get(name):
            return await work()
        fault = self.faults[name].pop(0)
        self.met.append((name, fault))
        if fault == "unavailable":
            raise Unavailable
        if fault == "unknown, done":
            done = await work()
            job_id = done.id if isinstance(done, Job) else job_id
        raise Unknown(job_id)

    async def accept(self, draft: Draft) -> Job:
        return await self._call("accept", draft.id, lambda: self.store.accept(draft))

    async def find(self, key: str, body: str) -> Job | None:
        return await self._call("find", None, lambda: self.store.find(key, body))

    async def get(self, job_id: str) -> Job | None:
        return await self._call("get", job_id, lambda: self.store.get(job_id))

    async def list(self, limit: int, states: frozenset[State] = frozenset(State)) -> Sequence[Job]:
        return await self._call("list", None, lambda: self.store.list(limit, states))

    async def claim(self, worker: str, loaded: Stack | None) -> Job | None:
        if not self.counts()[State.PENDING]:
            return await self.store.claim(worker, loaded)  # a fault that gives nobody anything would be none
        return await self._call("claim", None, lambda: self.store.claim(worker, loaded))

    async def begin(self, job_id: str, fence: Fence) -> Job:
        return await self._call("begin", job_id, lambda: self.store.begin(job_id, fence))

    async def heartbeat(self, job_id: str, fence: Fence, phase: Phase) -> Verdict:
        return await self._call("heartbeat", job_id, lambda: self.store.heartbeat(job_id, fence, phase))

    async def complete(self, job_id: str, fence: Fence, pictures: Sequence[PictureFile]) -> Job:
        return await self._call("complete", job_id, lambda: self.store.complete(job_id, fence, pictures))

    async def fail(self, job_id: str, fence: Fence, error: str, *, retry: bool) -> Job:
        return await self._call("fail", job_id, lambda: self.store.fail(job_id, fence, error, retry=retry))

    async def release(self, job_id: str, fence: Fence) -> Job:
        return await self._call("release", job_id, lambda: self.store.release(job_id, fence))

    async def cancel(self, job_id: str) -> Job | None:
        return await self._call("cancel", job_id, lambda: self.store.cancel(job_id))

    async def sweep(self) -> Swept:
        return await self._call("sweep", None, lambda: self.store.sweep())

    async def wait_for_work(self, seconds: float) -> None:
        await self.store.wait_for_work(seconds)

    def position(self, job: Job) -> int | None:
        return self.store.position(job)

    def counts(self) -> dict[State, int]:
        return self.store.counts()
