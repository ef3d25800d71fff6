"""The worker: claims one job after the other, lets the engine draw it, stores what came of it. Orders nothing.

While the pictures of one job are packed and stored, the engine draws the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from minimon_server.beside import cancelled
from minimon_server.engines.messages import Drawn, EngineFault, EngineLost, Stack, Stopped
from minimon_server.jobs.between import Between
from minimon_server.jobs.ending import UNEXPECTED, Ending
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.events import Events
from minimon_server.jobs.idling import Idling
from minimon_server.jobs.input_files import InputLost
from minimon_server.jobs.inputs import Inputs
from minimon_server.jobs.interactive import Interactive
from minimon_server.jobs.job import Job, State
from minimon_server.jobs.loss import STUCK, Loss, gone
from minimon_server.jobs.pace import Pace
from minimon_server.jobs.pictures import PictureStore
from minimon_server.jobs.serving import Serving
from minimon_server.jobs.settling import Pause, backing_off, read_back
from minimon_server.jobs.store import Fenced, JobStore, Unavailable, Unknown
from minimon_server.jobs.turn import Turn
from minimon_server.logs import Logger

LOOK_SECONDS: Final = 1.0
STOP_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 60.0  # to let go of a model: beyond, the engine hangs

NO_INPUT: Final = "a picture that the job begins with is no longer there, or damaged"


class Worker:
    """One task on the event loop, one thread with the engine. `run` it, `drain` it, `end` it."""

    def __init__(
        self,
        store: JobStore,
        pictures: PictureStore,
        inputs: Inputs,
        events: Events,
        engine: EngineThread,
        log: Logger,
        *,
        name: str,
        pace: Pace | None = None,
        pause: Pause = backing_off,
        idle_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        interactive: Interactive | None = None,
    ) -> None:
        """After `idle_seconds` without a drawing the engine gives its memory back; 0: never."""
        self.pace = pace or Pace()
        self.loss = Loss(log)
        self.idling = Idling(engine, self._discard_engine, idle_seconds, log, monotonic)
        self._interactive = interactive or Interactive(log)
        self._serving = Serving(
            self._interactive, engine, store, log, lose=self._lose_engine, discard=self._discard_engine
        )
        self._store = store
        self._inputs = inputs
        self._events = events
        self._engine = engine
        self._log = log
        self._ending = Ending(store, pictures, events, self.pace, log, pause)
        self._name = name
        self._pause = pause
        self._monotonic = monotonic
        self._draining = asyncio.Event()
        self._turn: Turn | None = None
        self._drawn_turn: Turn | None = None  # its pictures wait until those of the job before are stored
        self._storing: tuple[Turn, asyncio.Task[None]] | None = None
        self.stop_seconds = STOP_SECONDS
        self.close_seconds = CLOSE_SECONDS

    @property
    def loaded(self) -> Stack | None:
        """What the engine could draw at once."""
        return self._engine.loaded

    @property
    def is_drawing(self) -> bool:
        """Whether the engine draws, and was not told to stop."""
        return self._turn is not None and self._turn.why is None

    @property
    def has_lost_its_job(self) -> bool:
        """Whether the engine is still busy with a job that was taken from it: it hangs, or is about to stop."""
        return self._interactive.hangs or (self._turn is not None and self._turn.why == "fenced")

    @property
    def given_back(self) -> int:
        """How often the engine was idle for long enough to be closed."""
        return self.idling.times

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
        self._interactive.close()
        if self.loss.reason:
            self._interactive.end()

    async def run(self) -> None:
        """Work until drained."""
        drained = asyncio.create_task(self._draining.wait())
        try:
            while not self._draining.is_set():
                if self._interactive.is_next:
                    await self._served()
                    continue
                self._interactive.give_way()
                job = await self._claim()
                if job is not None:
                    await self._work(job)
                elif not await self._served():
                    await self._idle(drained)
            while self._interactive.waiting and not self.loss.reason:  # who came before the end
                await self._served()
            await self._all_stored()
        except Exception:  # a mistake of ours, after which this begins anew: it costs no other job its pictures
            await self._all_stored()
            raise
        finally:
            if self._storing is not None:
                await cancelled(self._storing[1])
                self._storing = None
            await cancelled(drained)

    async def end(self, task: asyncio.Task[None], seconds: float) -> None:
        """Let the running job end within `seconds`, else give it back; then end `run`, which is `task`."""
        self.drain()
        # Nobody waits for an engine that is lost; what it drew before is stored.
        first = task if not self.loss.reason else self._storing[1] if self._storing else None
        if first is not None:
            await asyncio.wait({first}, timeout=seconds)
        if (turn := self._turn) is not None:
            turn.stop("released")
        is_serving = self._interactive.end()
        if turn is not None or is_serving or self._storing is not None:
            await asyncio.wait({task}, timeout=self.stop_seconds)
        if not task.done():
            # The engine or the store does not answer, or nothing runs. What they still bring is too late for its fence.
            storing = self._storing[0] if self._storing and not self._storing[1].done() else None
            held = [self._turn, self._drawn_turn, storing]
            task.cancel()
            await asyncio.wait({task})
            for one in held:
                if one is not None and one.why != "fenced":
                    await self._ending.give_back(one.job)
        self._engine.end()

    async def _idle(self, drained: asyncio.Task[bool]) -> None:
        work = asyncio.create_task(self._store.wait_for_work(LOOK_SECONDS))
        visit = asyncio.create_task(self._interactive.arrival())
        try:
            await asyncio.wait({work, visit, drained}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancelled(work)
            await cancelled(visit)
        await self.idling.look()

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
        """Let the engine draw a job, and leave its pictures to be stored while the next is drawn."""
        turn = self._turn = Turn(job, self._store, self._events, self._pause)
        if self._draining.is_set():
            turn.stop("released")
        beating = asyncio.create_task(turn.beat())
        between = Between(turn, self._interactive, self._engine, self._log, self._monotonic)
        began = self._monotonic()
        try:
            drawn, ended = await self._drawn(turn, between)
        except Fenced:
            drawn = ended = None
        finally:
            await cancelled(beating)
            self._turn = None
            self.idling.used()
        seconds = self._monotonic() - began - between.seconds
        if drawn is None:
            await self._all_stored()
            self._ending.tell(turn, ended, seconds)
            return
        holding = asyncio.create_task(turn.hold())
        self._drawn_turn = turn
        try:
            await self._all_stored()  # of the job before: never more than two jobs' pictures are in memory
        except BaseException:
            holding.cancel()
            raise
        self._storing = turn, asyncio.create_task(self._store_held(turn, drawn, seconds, holding))
        self._drawn_turn = None

    async def _store_held(self, turn: Turn, drawn: Drawn, seconds: float, holding: asyncio.Task[None]) -> None:
        try:
            await self._ending.store(turn, drawn, seconds)
        finally:
            holding.cancel()

    async def _all_stored(self) -> None:
        """Return when the pictures of the job before the present one are stored."""
        if self._storing is not None:
            await self._storing[1]
            self._storing = None

    async def _drawn(self, turn: Turn, between: Between) -> tuple[Drawn | None, Job | None]:
        """Let the engine draw; return what it drew, or how the job ended without: None when somebody else ended it."""
        try:
            inputs = await self._inputs.files_of(turn.job.request)
            return await self._engine.draw(turn.job.request, between.report, inputs), None
        except InputLost as error:
            self._log.error(NO_INPUT, job=turn.job.id, digest=str(error))
            return None, await self._ending.fail(turn.job, NO_INPUT, retry=False)
        except Stopped:
            return None, await self._ending.stopped(turn)
        except EngineFault as fault:
            self._log.warning("the engine could not draw", job=turn.job.id, exception=fault)
            return None, await self._ending.fail(turn.job, fault.text, retry=fault.retry)
        except EngineLost as lost:
            self._lose_engine(lost)
            return None, await self._ending.fail(turn.job, lost.text, retry=True)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._log.error("the engine broke", job=turn.job.id, exception=error)
        # Outside the handler: a traceback would keep alive what the engine must give back.
        await self._discard_engine()
        return None, await self._ending.fail(turn.job, UNEXPECTED, retry=False)

    async def _served(self) -> bool:
        found = await self._serving.some()
        if found:
            self.idling.used()
        return found

    def _lose_engine(self, lost: EngineLost) -> None:
        self.loss.tell(gone(lost.text))
        self.drain()  # what waits is for the next process

    async def _discard_engine(self) -> None:
        try:
            await asyncio.wait_for(self._engine.discard(), self.close_seconds)
        except TimeoutError:
            self.drain()
            self.loss.tell(STUCK)
        except Exception as error:
            self._log.error("the engine cannot be closed", exception=error)
