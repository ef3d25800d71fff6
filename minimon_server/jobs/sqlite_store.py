"""The `JobStore` of one machine: a journal in SQLite, and its picture in memory. Runs no job and draws nothing."""

from __future__ import annotations

import asyncio
import builtins
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from minimon_server.engines.messages import Phase, Stack
from minimon_server.jobs import job as rules
from minimon_server.jobs.admission import Admission
from minimon_server.jobs.commits import Commits
from minimon_server.jobs.job import Draft, Fence, Job, PictureFile, State
from minimon_server.jobs.journal import Journal, Lost, unusable
from minimon_server.jobs.known import Known
from minimon_server.jobs.lanes import pick
from minimon_server.jobs.recovery import after, recovered
from minimon_server.jobs.store import (
    Bounds,
    Ended,
    Fenced,
    Gone,
    KeyMismatch,
    Lease,
    Swept,
    Unavailable,
    Unknown,
    Verdict,
)
from minimon_server.logs import Logger

# A sweep removes at most so many records in one transaction: others want to be written, too.
SWEPT_TOGETHER: Final = 500


class SqliteStore:
    """Owned by the event loop; each change waits for the journal's thread, and memory follows what was committed."""

    def __init__(
        self,
        journal: Journal,
        log: Logger,
        *,
        bounds: Bounds | None = None,
        lease: Lease | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the journal, and let the jobs wait again that were running when the last process ended.

        Raises `StartupError`, with the journal closed, when it holds what cannot be read.
        """
        self.bounds = bounds or Bounds()
        self._lease = lease or Lease()
        self._journal = journal
        self._clock = clock
        self._monotonic = monotonic
        self.known = Known()
        try:
            self._number = journal.last_number()
            for job in recovered(journal, clock(), log):
                self.known.put(job)
        except sqlite3.Error as error:
            journal.close()
            raise unusable(journal.path, error) from error
        self._leases: dict[str, float] = {}
        self._unnamed: builtins.list[str] = []  # files that a sweep has left without a name, also one that broke off
        self._admission = Admission(self.bounds, self.known.waiting)
        self._work = asyncio.Event()
        self._commits = Commits(journal.db, log)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written, if so: now, or until the next start."""
        return self._commits.hindrance

    def close(self) -> None:
        """Write what was asked, and close the journal."""
        self._commits.close()
        self._journal.close()

    # the protocol

    async def accept(self, draft: Draft) -> Job:
        """Return the job once it is on the disk."""
        self._check()
        with self._admission.name(draft):
            if draft.key is not None and (found := await self._by_key(draft.key, draft.body)):
                return found
            if same := self.known.jobs.get(draft.id):
                return same  # asked again because nobody knew whether it was done
            with self._admission.place(draft):
                return await self._insert(draft)

    async def find(self, key: str, body: str) -> Job | None:
        """Return the job that was accepted under a key, or None."""
        self._check()
        self._admission.check_key(key)
        return await self._by_key(key, body)

    async def get(self, job_id: str) -> Job | None:
        """Return a job, or None; raise `Gone`."""
        self._check()
        if found := self.known.jobs.get(job_id):
            return found
        if await self._commits.ask(partial(self._journal.is_gone, job_id)):
            raise Gone
        return self.known.jobs.get(job_id)

    async def list(self, limit: int, states: frozenset[State] = frozenset(State)) -> Sequence[Job]:
        """Return jobs in these states, the newest first."""
        self._check()
        return self.known.newest(limit, states)

    async def claim(self, worker: str, loaded: Stack | None) -> Job | None:
        """Give a waiting job to `worker`, or None."""
        self._check()
        waiting = self.known.waiting
        for lane in pick(self._clock(), waiting.lanes(), loaded):
            while job := waiting.first(lane):
                try:
                    claimed = await self._swap(job, rules.claimed(job, worker))
                except Fenced:
                    continue  # somebody cancelled it; the next in this lane has the same right
                self._leases[job.id] = self._monotonic() + self._lease.loading
                return claimed
        if not waiting:
            self._work.clear()
        return None

    async def begin(self, job_id: str, fence: Fence) -> Job:
        """Count an attempt."""
        job = self._held(job_id, fence)
        begun = await self._swap(job, rules.begun(job, self._clock()))
        self._leases[job_id] = self._monotonic() + self._lease.drawing
        return begun

    async def heartbeat(self, job_id: str, fence: Fence, phase: Phase) -> Verdict:
        """Prolong the lease; nothing is written: a lease lives as long as the process that gave it."""
        self._check()
        job = self.known.jobs.get(job_id)
        if job is not None and job.fence == fence and job.state is State.PROGRESS:
            lease = self._lease.loading if phase == "loading" else self._lease.drawing
            self._leases[job_id] = self._monotonic() + lease
            return Verdict.GO
        return Verdict.REVOKED if job is not None and job.state is State.REVOKED else Verdict.FENCED

    async def complete(self, job_id: str, fence: Fence, pictures: Sequence[PictureFile]) -> Job:
        """End a job in SUCCESS."""
        job = self._held(job_id, fence)
        return await self._swap(job, job.moved(State.SUCCESS, ended=self._clock(), pictures=tuple(pictures)))

    async def fail(self, job_id: str, fence: Fence, error: str, *, retry: bool) -> Job:
        """End a job in FAILURE, or let it wait again."""
        job = self._held(job_id, fence)
        return await self._swap(job, rules.failed(job, self._clock(), error, retry=retry))

    async def release(self, job_id: str, fence: Fence) -> Job:
        """Give a job back."""
        job = self._held(job_id, fence)
        return await self._swap(job, rules.released(job))

    async def cancel(self, job_id: str) -> Job | None:
        """End a job in REVOKED, whoever holds it."""
        while job := await self.get(job_id):
            if job.has_ended:
                raise Ended
            try:
                return await self._swap(job, job.moved(State.REVOKED, ended=self._clock()))
            except Fenced:
                continue  # it moved on meanwhile; it cannot do so often
        return None

    async def sweep(self) -> Swept:
        """Take jobs from those who show no progress, and forget what is beyond the bounds."""
        await self._try_again()
        expired = []
        now = self._monotonic()
        for job in [job for job in self.known.running.values() if self._leases.get(job.id, now) < now]:
            try:
                expired.append(await self._swap(job, rules.interrupted(job, self._clock())))
            except Fenced:
                continue  # it has moved at the last moment
        removed = self.known.too_many(self.bounds, self._clock())[:SWEPT_TOGETHER]
        emptied = self.known.too_large(self.bounds, len(removed))
        for job in emptied:
            await self._swap(job, replace(job, removed=True))
            self._unnamed += [picture.name for picture in job.pictures]
        if removed:
            await self._commits.ask(
                partial(self._journal.remove, removed, self.bounds.gone), lambda _: self.known.drop_all(removed)
            )
            self._unnamed += [picture.name for job in removed for picture in job.pictures if not job.removed]
        unnamed, self._unnamed = self._unnamed, []
        return Swept(tuple(expired), tuple(unnamed), more=len(removed) == SWEPT_TOGETHER)

    async def wait_for_work(self, seconds: float) -> None:
        """Return when a job may wait that nobody has claimed, or after `seconds`."""
        try:
            await asyncio.wait_for(self._work.wait(), seconds)
        except TimeoutError:
            return  # the caller looks for itself now and then, whatever it was told

    def position(self, job: Job) -> int | None:
        """Return about how many jobs start until this one does."""
        return self.known.waiting.position(job)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are known, by state."""
        return self.known.counts()

    # how it is done

    def _check(self) -> None:
        if self._commits.trouble:
            raise Unavailable

    async def _try_again(self) -> None:
        """See whether a journal that could not be written can be now: whoever reads `/ready` may wait for that."""
        if self._commits.hindrance and not self._commits.trouble:
            with suppress(Unavailable, Unknown):
                await self._commits.ask(self._journal.probe)

    async def _by_key(self, key: str, body: str) -> Job | None:
        found = await self._commits.ask(partial(self._journal.by_key, key))
        if found is None:
            return None
        job_id, body_then = found
        if body_then != body:
            raise KeyMismatch
        return self.known.jobs.get(job_id)

    async def _insert(self, draft: Draft) -> Job:
        self._number += 1
        job = Job(
            id=draft.id,
            number=self._number,
            request=draft.request,
            client=draft.client,
            priority=draft.priority,
            accepted=self._clock(),
            fence=Fence("1"),
        )
        insert = partial(self._journal.insert, job, draft.key, draft.body)
        await self._commits.ask(insert, lambda _: self._follow(job))
        return job

    def _held(self, job_id: str, fence: Fence) -> Job:
        self._check()
        job = self.known.jobs.get(job_id)
        if job is None or job.fence != fence or job.state is not State.PROGRESS:
            raise Fenced
        return job

    async def _swap(self, old: Job, new: Job) -> Job:
        """Write `new` over `old`, and nothing else over anything else."""
        written = replace(new, fence=after(old.fence))
        try:
            await self._commits.ask(partial(self._journal.swap, written, old.fence), lambda _: self._follow(written))
        except Lost as error:
            raise Fenced from error
        return written

    def _follow(self, job: Job) -> None:
        self.known.put(job)
        if job.state is State.PENDING:
            self._work.set()
        if job.state is not State.PROGRESS:
            self._leases.pop(job.id, None)
