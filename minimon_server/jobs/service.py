"""What the web may do with jobs: submit, look, wait, cancel, follow. Owns the executor and the sweep; no HTTP."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from minimon_server.beside import Crew, in_thread
from minimon_server.engines.messages import DrawRequest
from minimon_server.errors import Conflict, Gone, IdempotencyMismatch, NotFound, QueueFull, Text
from minimon_server.jobs import store as outcomes
from minimon_server.jobs.errors import PICTURES_SILENT, EngineUnavailable, JobsUnavailable
from minimon_server.jobs.events import Event, Events
from minimon_server.jobs.executor import Executor
from minimon_server.jobs.inputs import Inputs
from minimon_server.jobs.job import Draft, Job, PictureFile, Priority, State
from minimon_server.jobs.pictures import Damaged, PictureStore
from minimon_server.jobs.standing import Standing, standing_of
from minimon_server.logs import Logger

SWEEP_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 1.0

NO_SUCH_JOB: Final = Text("Aucune tâche n'a cet identifiant.", "No job has this id.")
JOB_GONE: Final = Text("Cette tâche est terminée et n'est plus gardée.", "This job has ended and is kept no longer.")
PICTURE_GONE: Final = Text("L'image de cette tâche n'est plus gardée.", "This job's picture is kept no longer.")
HAS_ENDED: Final = Text(
    "Cette tâche est terminée : elle ne peut plus être annulée.", "This job has ended: it can no longer be cancelled."
)
KEY_IN_USE: Final = Text(
    "Une requête avec la même Idempotency-Key est en cours ; réessayez dans un instant.",
    "A request with the same Idempotency-Key is under way; try again in a moment.",
)
ENDING: Final = Text("Le serveur s'arrête.", "The server is shutting down.")


async def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for; `asked` is what it said, byte for byte alike for like requests."""

    request: DrawRequest
    client: str
    priority: Priority
    asked: bytes
    key: str | None = None


class Jobs:
    """The one way to jobs. Raises what `errors` names."""

    def __init__(
        self,
        store: outcomes.JobStore,
        pictures: PictureStore,
        inputs: Inputs,
        events: Events,
        worker: Executor,
        log: Logger,
        *,
        unavailable: Text | None = None,
        close: Callable[[], None] = lambda: None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`unavailable` says why nothing can be drawn here, if that is so; `close` is called at the very end."""
        self.store = store
        self.inputs = inputs
        self.events = events
        self.worker = worker
        self.unavailable = unavailable
        self.pace = worker.pace
        self.loss = worker.loss
        self.is_ending = False
        self._pictures = pictures
        self._reading = Crew("pictures", at_once=8, patience=10.0)
        self._log = log
        self._close = close
        self._new_id = new_id
        self._monotonic = monotonic
        self._stopped = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    # its life

    def start(self) -> None:
        """Begin to work, on the running event loop."""
        if self.unavailable is None:
            self._tasks.append(asyncio.create_task(self._kept_up("worker", self.worker.run)))
        self._tasks.append(asyncio.create_task(self._kept_up("sweep", self._sweep_for_ever)))

    def stop(self) -> None:
        """Accept and claim no more, and keep nobody waiting."""
        if not self.is_ending:
            self.is_ending = True
            self._stopped = self._monotonic()
        self.worker.drain()
        self.events.wake_all()

    def hurry(self) -> None:
        """Give the running job back within its step."""
        self.stop()
        self.worker.give_back()

    async def end(self, grace: float) -> None:
        """Let the running job end within `grace` seconds of `stop`, or give it back, and end."""
        self.stop()
        seconds = max(0.0, self._stopped + grace - self._monotonic())
        sweeping = self._tasks[-1]
        sweeping.cancel()
        if self.unavailable is None:
            await self.worker.end(self._tasks[0], seconds)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._close)

    # what clients ask

    async def find(self, client: str, key: str, asked: bytes) -> Job | None:
        """Return the job that this client was given for the same key and words before, or None if none is kept.

        Whatever has become of models, queue and engine meanwhile, and also while the server ends: what was accepted
        is accepted.
        """
        try:
            return await self.store.find(_digest_of_key(client, key), _digest(asked))
        except (outcomes.KeyInUse, outcomes.KeyMismatch) as error:
            raise _of_key(error) from error
        except (outcomes.Unavailable, outcomes.Unknown) as error:
            raise JobsUnavailable from error

    async def submit(self, wish: Wish) -> Job:
        """Accept a job, or return the one that came with the same key before; also while a restart is under way."""
        if self.unavailable or (self.is_ending and not self.loss.reason):
            raise EngineUnavailable(self.unavailable or ENDING)
        key = _digest_of_key(wish.client, wish.key) if wish.key else None
        draft = Draft(self._new_id(), wish.request, wish.client, wish.priority, key, _digest(wish.asked))
        try:
            return await self.store.accept(draft)
        except outcomes.Full as error:
            wait = self.pace.retry_after()
            raise QueueFull(limit=error.limit, of_client=error.whose == "client", retry_after=wait) from error
        except (outcomes.KeyInUse, outcomes.KeyMismatch) as error:
            raise _of_key(error) from error
        except outcomes.Unavailable as error:
            raise JobsUnavailable from error
        except outcomes.Unknown as error:
            if (found := await self._look(draft.id)) is not None:
                return found
            raise JobsUnavailable from error

    async def get(self, job_id: str) -> Job:
        """Return a job; raise `NotFound`, `Gone` or `JobsUnavailable`."""
        if (found := await self._look(job_id)) is None:
            raise NotFound(NO_SUCH_JOB)
        return found

    async def wait(self, job_id: str, seconds: float, gone: Callable[[], Awaitable[bool]] = _never) -> Job:
        """Return a job once it has ended, or as it is after `seconds`, when the server ends, or when who waits is gone.

        `gone` is asked at every look.
        """
        until = self._monotonic() + seconds
        with self.events.watch(job_id) as watch:
            while True:
                job = await self.get(job_id)
                left = until - self._monotonic()
                if job.has_ended or left <= 0 or self.is_ending or await gone():
                    return job
                await watch.changed(min(left, LOOK_SECONDS))

    async def list(self, limit: int, states: frozenset[State]) -> Sequence[Job]:
        """Return jobs in these states, the newest first."""
        try:
            return await self.store.list(limit, states)
        except (outcomes.Unavailable, outcomes.Unknown) as error:
            raise JobsUnavailable from error

    async def cancel(self, job_id: str) -> Job:
        """End a waiting or running job; raise `Conflict` for one that has ended."""
        try:
            job = await self.store.cancel(job_id)
        except outcomes.Ended as error:
            raise Conflict(HAS_ENDED) from error
        except outcomes.Gone as error:
            raise Gone(JOB_GONE) from error
        except outcomes.Unavailable as error:
            raise JobsUnavailable from error
        except outcomes.Unknown as error:
            job = await self._look(job_id)
            if job is not None and job.state is not State.REVOKED:
                raise JobsUnavailable from error
        if job is None:
            raise NotFound(NO_SUCH_JOB)
        self.worker.stop(job_id)
        self.events.wake(job_id)
        return job

    def standing(self, job: Job) -> Standing:
        """Return where a job stands now."""
        return standing_of(job, self.store, self.events, self.pace)

    async def picture(self, job: Job, picture: PictureFile) -> bytes:
        """Return the bytes of one of a job's pictures; raise `Gone` when they are kept no longer."""
        if job.removed:
            raise Gone(PICTURE_GONE)
        try:
            return await self._reading.do(lambda: self._pictures.read(picture))
        except TimeoutError as error:
            self._log.error("a picture cannot be read: the disk does not answer", file=picture.name, job=job.id)
            raise JobsUnavailable(PICTURES_SILENT) from error
        except Damaged as error:
            # It may have been swept between the record and the file; otherwise somebody meddled with the folder.
            self._log.error("a picture is missing or damaged", file=picture.name, job=job.id)
            raise Gone(PICTURE_GONE) from error

    async def follow(self, job_id: str, after: int | None) -> AsyncIterator[Event | None]:
        """Yield what happens to a job, from the event after `after` on if that is still known, until it ends.

        None is yielded now and then while nothing happens: whoever listens may want to show that it is still there.
        """
        last = after if after is not None and self.events.has_all_after(job_id, after) else 0
        with self.events.follow(job_id) as watch:
            while not self.is_ending:
                job = await self.get(job_id)
                if (position := self.store.position(job)) is not None:
                    self.events.place(job_id, position)
                if job.has_ended and self.events.end_of(job_id) is None:
                    self.events.tell(job_id, "end", {"state": job.state.value, "error": job.error})
                for event in self.events.after(job_id, last):
                    last = event.number
                    yield event
                if job.has_ended:
                    return
                yield None
                await watch.changed(LOOK_SECONDS)

    async def sweep(self) -> None:
        """Take jobs from an engine that hangs, and forget what is beyond the bounds."""
        more = True
        while more:
            swept = await self.store.sweep()
            await self._follow_sweep(swept)
            more = swept.more
        await self.inputs.sweep(self.store)

    async def _follow_sweep(self, swept: outcomes.Swept) -> None:
        for job in swept.expired:
            self._log.error("the engine shows no progress: its job was taken from it", job=job.id, state=job.state)
            self.worker.lose(job.id)
            self.events.forget_progress(job.id)
            self.events.wake(job.id)
        if swept.unnamed:
            await in_thread(lambda: self._pictures.remove(swept.unnamed), "sweep")

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except (outcomes.Unavailable, outcomes.Unknown, OSError) as error:
                self._log.warning("nothing could be swept", reason=repr(error))
            self.loss.look(self.worker.has_lost_its_job, self._monotonic())
            await asyncio.sleep(SWEEP_SECONDS)

    async def _kept_up(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do what must never end before we do; a mistake of ours in it is told, and costs a second."""
        while True:
            try:
                await work()
                return
            except Exception as error:
                self._log.error("a part of the jobs broke and begins anew", part=name, exception=error)
            await asyncio.sleep(SWEEP_SECONDS)

    async def _look(self, job_id: str) -> Job | None:
        try:
            return await self.store.get(job_id)
        except outcomes.Gone as error:
            raise Gone(JOB_GONE) from error
        except (outcomes.Unavailable, outcomes.Unknown) as error:
            raise JobsUnavailable from error


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _digest_of_key(client: str, key: str) -> str:
    return _digest(f"{client}\n{key}".encode())


def _of_key(error: outcomes.KeyInUse | outcomes.KeyMismatch) -> Conflict | IdempotencyMismatch:
    return Conflict(KEY_IN_USE) if isinstance(error, outcomes.KeyInUse) else IdempotencyMismatch()
