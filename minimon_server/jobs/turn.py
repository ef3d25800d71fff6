"""One claimed job in the hands of the engine: its begin, its heartbeats, its stop. Neither claims nor ends it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Final, Literal

from minimon_server.engines.messages import Phase, Progress, Reply
from minimon_server.jobs.engine_thread import post
from minimon_server.jobs.events import Events
from minimon_server.jobs.job import Job, State
from minimon_server.jobs.settling import Pause, settled
from minimon_server.jobs.store import Fenced, JobStore, Unavailable, Unknown, Verdict

# revoked: somebody cancelled it; fenced: it is not ours any longer; released: we give it back.
Why = Literal["revoked", "fenced", "released"]

# How often the event loop hears of a job that nobody follows: each time costs the engine a fraction of a step.
TELL_SECONDS: Final = 0.25


class _GivenUp(Exception):
    """The engine was told to stop while the store was silent."""


class Turn:
    """Made on the event loop; `report` alone is called on the engine's thread."""

    def __init__(
        self,
        job: Job,
        store: JobStore,
        events: Events,
        pause: Pause,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self.why: Why | None = None
        self._store = store
        self._events = events
        self._pause = pause
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._monotonic = monotonic
        self._reports: deque[Progress] = deque()
        self._told: tuple[Phase | None, float] = (None, 0.0)  # of the engine's thread alone
        self._phase: Phase = "loading"
        self._moved = asyncio.Event()
        # A heartbeat with the fence of before would be taken for somebody else's.
        self._writing = asyncio.Lock()
        events.hear_from(job.id, self._follow)

    def stop(self, why: Why) -> None:
        """Let the engine stop within its step; the first reason counts."""
        if self.why is None:
            self.why = why
        self._stop.set()

    def report(self, progress: Progress) -> Reply:
        """Hear from the engine, on its thread, and say whether to go on.

        The first denoising step waits until its attempt is counted on the disk: a request that kills the process in
        the middle of it must not be able to do so for ever.
        """
        if self._stop.is_set() or (progress.phase == "drawing" and not self.job.begun and not self._wait_for_begin()):
            return Reply.STOP
        followed = self._events.is_followed(self.job.id)
        self._reports.append(progress)
        if not self._tell(progress.phase, followed) or self._stop.is_set():
            return Reply.STOP
        return Reply.SHOW if followed else Reply.GO_ON

    def keep(self) -> None:
        """Prolong the lease while the engine draws something else between two steps: called on its thread."""
        post(self._loop, self._moved.set)

    async def begin(self) -> bool:
        """Count the attempt; return False when the job is not ours any longer, or the engine was told to stop."""
        async with self._writing:
            if self.job.begun:
                return True
            try:
                self.job = await settled(
                    self._store,
                    self.job,
                    lambda fence: self._store.begin(self.job.id, fence),
                    frozenset({State.PROGRESS}),
                    self._pause_unless_stopped,
                )
            except Fenced:
                self.stop("fenced")
                return False
            except _GivenUp:
                return False
            return True

    async def beat(self) -> None:
        """Tell the store of progress, one call at a time, and stop when it says so. Runs until cancelled."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            await self._beat()

    async def hold(self) -> None:
        """Prolong the lease of what is drawn until it is stored: no engine reports then. Runs until cancelled."""
        while True:
            await self._beat()
            await asyncio.sleep(TELL_SECONDS)

    async def _beat(self) -> None:
        async with self._writing:
            try:
                verdict = await self._store.heartbeat(self.job.id, self.job.fence, self._phase)
            except (Unavailable, Unknown):
                return  # the lease runs on; if the store stays away it runs out, which is what it is for
        if verdict is Verdict.REVOKED:
            self.stop("revoked")
        elif verdict is Verdict.FENCED:
            self.stop("fenced")

    async def _pause_unless_stopped(self, tries: int) -> None:
        if self._stop.is_set():
            raise _GivenUp
        await self._pause(tries)

    def _tell(self, phase: Phase, followed: bool) -> bool:
        """Let the event loop hear of the reports, if it is time to; return False when it has ended."""
        now = self._monotonic()
        if not followed and phase == self._told[0] and now - self._told[1] < TELL_SECONDS:
            return not self._loop.is_closed()
        self._told = phase, now
        return post(self._loop, self._follow)

    def _wait_for_begin(self) -> bool:
        beginning = self.begin()
        try:
            return asyncio.run_coroutine_threadsafe(beginning, self._loop).result()
        except CancelledError:
            return False  # the event loop is ending
        except RuntimeError:
            beginning.close()
            return False  # the event loop has ended

    def _follow(self) -> None:
        while self._reports:
            progress = self._reports.popleft()
            self._phase = progress.phase
            self._events.progress(self.job.id, progress)
            self._moved.set()  # for reports alone: who only looks does not prolong the lease
