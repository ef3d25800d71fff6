"""How a job ends: its pictures packed and stored, then the state that names them, then whoever waits is told.

Draws nothing and claims nothing.
"""

from __future__ import annotations

from typing import Final

from minimon_server.beside import in_thread
from minimon_server.engines.messages import Drawn, DrawnPicture
from minimon_server.jobs.events import Events
from minimon_server.jobs.job import Job, PictureFile, State
from minimon_server.jobs.pace import Pace
from minimon_server.jobs.pictures import PictureStore
from minimon_server.jobs.settling import Pause, settled
from minimon_server.jobs.store import Fenced, JobStore, Unavailable, Unknown
from minimon_server.jobs.turn import Turn
from minimon_server.logs import Logger

STORING_TRIES: Final = 4

UNEXPECTED: Final = "the engine met an unexpected error; the server's log tells the cause"
NOT_STORED: Final = "the pictures could not be stored; the server's log tells the cause"


class Ending:
    """Writes the end of one job after the other; each write takes the job's fence."""

    def __init__(
        self, store: JobStore, pictures: PictureStore, events: Events, pace: Pace, log: Logger, pause: Pause
    ) -> None:
        self._store = store
        self._pictures = pictures
        self._events = events
        self._pace = pace
        self._log = log
        self._pause = pause

    async def store(self, turn: Turn, drawn: Drawn, seconds: float) -> None:
        """Store what was drawn. A mistake of ours here must not cost the next job, which is being drawn."""
        try:
            ended = await self._completed(turn, drawn)
            self.tell(turn, ended, seconds)
        except Exception as error:
            self._log.error("the end of a job went wrong", job=turn.job.id, exception=error)

    async def _completed(self, turn: Turn, drawn: Drawn) -> Job | None:
        try:
            return await self._complete(turn, drawn)
        except Fenced:
            return None
        except Exception as error:
            self._log.error("the pictures of a job cannot be packed", job=turn.job.id, exception=error)
        try:
            return await self.fail(turn.job, UNEXPECTED, retry=False)
        except Fenced:
            return None

    def tell(self, turn: Turn, ended: Job | None, seconds: float) -> None:
        """Let the log and those who wait know how a job ended: None when somebody else has ended it."""
        job = turn.job
        self._events.forget_progress(job.id)
        if ended is None:
            self._log.info("a job was no longer ours when it ended", job=job.id, why=turn.why)
        else:
            if ended.state is State.SUCCESS:
                self._pace.add(job.request, seconds)
            self._log.info("job", job=job.id, state=ended.state.value, attempt=ended.attempt, seconds=round(seconds, 3))
        self._events.wake(job.id)

    async def stopped(self, turn: Turn) -> Job | None:
        """Give a job back that was stopped for us; return None when it was stopped because it is not ours."""
        if turn.why in ("revoked", "fenced"):
            return None
        return await self._release(turn.job)

    async def _complete(self, turn: Turn, drawn: Drawn) -> Job | None:
        if not await turn.begin():  # an engine that reported nothing has still made an attempt
            return await self.stopped(turn)
        files = await self._stored(turn.job, drawn.pictures)
        if files is None:
            return await self.fail(turn.job, NOT_STORED, retry=True)
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
            await in_thread(lambda: self._pictures.remove([file.name for file in files]), "storing")
            raise

    async def _stored(self, job: Job, pictures: tuple[DrawnPicture, ...]) -> tuple[PictureFile, ...] | None:
        for tries in range(STORING_TRIES):
            if tries:
                await self._pause(tries)
            try:
                # What is being packed for a job that is given back must not hold up the end of the process.
                return await in_thread(lambda: self._pictures.write(job, pictures), "pictures")
            except OSError as error:
                self._log.error("the pictures of a job cannot be stored", job=job.id, exception=error)
        return None

    async def fail(self, job: Job, error: str, *, retry: bool) -> Job:
        """End a job in FAILURE, or let it wait again; raise `Fenced` when it is not ours any longer."""
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

    async def give_back(self, job: Job) -> None:
        """Release a job whose engine does not stop, if the store can be asked; if not, the next start does it."""
        try:
            await self._store.release(job.id, job.fence)
        except (Fenced, Unavailable, Unknown) as error:
            self._log.warning("a job could not be given back", job=job.id, reason=type(error).__name__)
