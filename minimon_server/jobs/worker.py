"""The worker: claims one job after the other, lets the engine draw it, stores what came of it. Orders nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from minimon_server.engines.messages import Drawn, DrawnPicture, EngineFault, Stopped
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.events import Events
from minimon_server.jobs.job import Job, PictureFile, State
from minimon_server.jobs.pace import Pace
from minimon_server.jobs.pictures import PictureStore
from minimon_server.jobs.settling import Pause, backing_off, read_back, settled
from minimon_server.jobs.store import Fenced, JobStore, Unavailable, Unknown
from minimon_server.jobs.turn import Turn
from minimon_server.logs import Logger

LOOK_SECONDS: Final = 1.0
STORING_TRIES: Final = 4
STOP_SECONDS: Final = 2.0

UNEXPECTED: Final = "the engine met an unexpected error; the server's log tells the cause"
NOT_STORED: Final = "the pictures could not be stored; the server's log tells the cause"


class Worker:
    """One task on the event loop, one thread with the engine. `run` it, `drain` it, `end` it."""

    def __init__(
        self,
        store: JobStore,
        pictures: PictureStore,
        events: Events,
        engine: EngineThread,
        log: Logger,
        *,
        name: str,
        pace: Pace | None = None,
        pause: Pause = backing_off,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pace = pace or Pace()
        self._store = store
        self._pictures = pictures
        self._events = events
        self._engine = engine
        self._log = log
        self._name = name
        self._pause = pause
        self._monotonic = monotonic
        self._draining = asyncio.Event()
        self._turn: Turn | None = None
        self.stop_seconds = STOP_SECONDS

    @property
    def loaded(self) -> str | None:
        """What the engine could draw at once."""
        return self._engine.loaded

    @property
    def is_drawing(self) -> bool:
        """Whether the engine draws, and was not told to stop."""
        return self._turn is not None and self._turn.why is None

    @property
    def has_lost_its_job(self) -> bool:
        """Whether the engine is still busy with a job that was taken from it: it hangs, or is about to stop."""
        return self._turn is not None and self._turn.why == "fenced"

    def stop(self, job_id: str) -> None:
        """Stop drawing a job that was cancelled, if that is the one; no other is ever hit."""
        if self._turn is not None and self._turn.job.id == job_id:
            self._turn.stop("revoked")

    def lose(self, job_id: str) -> None:
        """Stop drawing a job that was taken away, if that is the one."""
        if self._turn is not None and self._turn.job.id == job_id:
            self._turn.stop("fenced")

    def give_back(self) -> None:
        """Stop drawing, so that the job waits again; `run` must have been drained before."""
        if self._turn is not None:
            self._turn.stop("released")

    def drain(self) -> None:
        """Claim no more; what runs goes on."""
        self._draining.set()

    async def run(self) -> None:
        """Work until drained."""
        drained = asyncio.create_task(self._draining.wait())
        try:
            while not self._draining.is_set():
                job = await self._claim()
                if job is not None:
                    await self._work(job)
                else:
                    await self._idle(drained)
        finally:
            await _cancelled(drained)

    async def end(self, task: asyncio.Task[None], seconds: float) -> None:
        """Let the running job end within `seconds`, else give it back; then end `run`, which is `task`."""
        self.drain()
        await asyncio.wait({task}, timeout=seconds)
        if (turn := self._turn) is not None:
            turn.stop("released")
            await asyncio.wait({task}, timeout=self.stop_seconds)
        if not task.done():
            # The engine does not stop, or nothing runs. What it may still bring comes too late for its fence.
            task.cancel()
            await asyncio.wait({task})
            if turn is not None:
                await self._give_back(turn.job)
        self._engine.end()

    async def _idle(self, drained: asyncio.Task[bool]) -> None:
        work = asyncio.create_task(self._store.wait_for_work(LOOK_SECONDS))
        try:
            await asyncio.wait({work, drained}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(work)

    async def _claim(self) -> Job | None:
        tries = 0
        while not self._draining.is_set():
            try:
                return await self._store.claim(self._name, self._engine.loaded)
            except Unavailable:
                pass
            except Unknown as error:
                found = await read_back(self._store, error.job_id, self._pause) if error.job_id else None
                if found is not None and found.worker == self._name and found.state is State.PROGRESS:
                    return found
            if not tries:
                self._log.warning("the store of jobs cannot be asked")
            await self._pause(tries)
            tries += 1
        return None

    async def _work(self, job: Job) -> None:
        turn = self._turn = Turn(job, self._store, self._events, self._pause)
        if self._draining.is_set():
            turn.stop("released")
        beating = asyncio.create_task(turn.beat())
        began = self._monotonic()
        try:
            ended = await self._ended_job(turn)
        except Fenced:
            ended = None
        finally:
            await _cancelled(beating)
            self._turn = None
        seconds = self._monotonic() - began
        self._events.forget_progress(job.id)
        if ended is None:
            self._log.info("a job was no longer ours when it ended", job=job.id, why=turn.why)
        else:
            if ended.state is State.SUCCESS:
                self.pace.add(job.request, seconds)
            self._log.info("job", job=job.id, state=ended.state.value, attempt=ended.attempt, seconds=round(seconds, 3))
        self._events.wake(job.id)

    async def _ended_job(self, turn: Turn) -> Job | None:
        """Let the engine draw, and write how that ended; None when somebody else has ended the job."""
        try:
            drawn = await self._engine.draw(turn.job.request, turn.report)
        except Stopped:
            return await self._stopped(turn)
        except EngineFault as fault:
            self._log.warning("the engine could not draw", job=turn.job.id, exception=fault)
            return await self._fail(turn.job, fault.text, retry=fault.retry)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._log.error("the engine broke", job=turn.job.id, exception=error)
        else:
            return await self._complete(turn, drawn)
        # Outside the handler: a traceback would keep alive what the engine must give back.
        await self._discard_engine()
        return await self._fail(turn.job, UNEXPECTED, retry=False)

    async def _discard_engine(self) -> None:
        try:
            await self._engine.discard()
        except Exception as error:
            self._log.error("the broken engine cannot be closed", exception=error)

    async def _stopped(self, turn: Turn) -> Job | None:
        if turn.why in ("revoked", "fenced"):
            return None
        return await self._release(turn.job)

    async def _complete(self, turn: Turn, drawn: Drawn) -> Job | None:
        if not await turn.begin():  # an engine that reported nothing has still made an attempt
            return await self._stopped(turn)
        files = await self._stored(turn.job, drawn.pictures)
        if files is None:
            return await self._fail(turn.job, NOT_STORED, retry=True)
        wanted = frozenset({State.SUCCESS})
        try:
            return await settled(
                self._store,
                turn.job,
                lambda fence: self._store.complete(turn.job.id, fence, files),
                wanted,
                self._pause,
            )
        except Fenced:
            # The pictures are of an attempt that nobody will ever name.
            await asyncio.to_thread(self._pictures.remove, [file.name for file in files])
            raise

    async def _stored(self, job: Job, pictures: tuple[DrawnPicture, ...]) -> tuple[PictureFile, ...] | None:
        for tries in range(STORING_TRIES):
            if tries:
                await self._pause(tries)
            try:
                return await asyncio.to_thread(self._pictures.write, job, pictures)
            except OSError as error:
                self._log.error("the pictures of a job cannot be stored", job=job.id, exception=error)
        return None

    async def _fail(self, job: Job, error: str, *, retry: bool) -> Job:
        return await settled(
            self._store,
            job,
            lambda fence: self._store.fail(job.id, fence, error, retry=retry),
            frozenset({State.FAILURE, State.PENDING}),
            self._pause,
        )

    async def _release(self, job: Job) -> Job:
        return await settled(
            self._store,
            job,
            lambda fence: self._store.release(job.id, fence),
            frozenset({State.PENDING}),
            self._pause,
        )

    async def _give_back(self, job: Job) -> None:
        """Release a job whose engine does not stop, if the store can be asked; if not, the next start does it."""
        try:
            await self._store.release(job.id, job.fence)
        except (Fenced, Unavailable, Unknown) as error:
            self._log.warning("a job could not be given back", job=job.id, reason=type(error).__name__)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Return when a task of ours has ended that nobody needs any longer."""
    task.cancel()
    await asyncio.wait({task})
