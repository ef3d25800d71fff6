"""Creatures that players wait for, drawn between two steps of a running job. Owns no queue, no job and no engine.

At most one batch after a step, and none before the job has drawn for as long as the last one took: it keeps at least
half of the engine's time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import partial

from minimon_server.engines.messages import EngineLost, NotNow, Outcome, Progress, Reply
from minimon_server.jobs.engine_thread import EngineThread, post
from minimon_server.jobs.interactive import Interactive
from minimon_server.jobs.turn import TELL_SECONDS, Turn
from minimon_server.jobs.visit import Visit
from minimon_server.logs import Logger


class Between:
    """Of one job. Made on the event loop; everything else is called on the engine's thread."""

    def __init__(
        self,
        turn: Turn,
        queue: Interactive,
        engine: EngineThread,
        log: Logger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = 0.0  # taken from the job so far
        self._turn = turn
        self._queue = queue
        self._engine = engine
        self._log = log
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._last = 0.0  # what the last batch took
        self._since = monotonic()  # when the job had the engine again
        self._kept = self._since
        self._is_over = False

    def report(self, progress: Progress) -> Reply:
        """Hear from the engine of the job, draw what is waited for if it is time to, and say whether to go on."""
        reply = self._turn.report(progress)
        is_step = progress.phase == "drawing" and 0 < progress.current < progress.total
        if not reply or not is_step or self._is_over or not self._queue.waiting:
            return reply
        if self._monotonic() - self._since < self._last:
            return reply
        self._draw()
        return Reply.STOP if self._turn.why is not None else reply

    def _draw(self) -> None:
        visits, began = self._taken()
        if not visits:
            return
        if not self._engine.has_room_for([visit.request for visit in visits]):
            self._is_over = True  # what there is no room for now, there will be none for in the next step
            post(self._loop, self._queue.put_back, visits)
            self._log.info("creatures wait for the end of a job: there is no room beside it", job=self._turn.job.id)
            return
        begun = self._monotonic()
        try:
            self._draw_all(visits, began)
        finally:
            self._since = self._monotonic()
            self._last = self._since - begun
            self.seconds += self._last
            post(self._loop, self._queue.rest)

    def _draw_all(self, visits: Sequence[Visit], began: float) -> None:
        def deliver(index: int, outcome: Outcome) -> None:
            post(self._loop, self._queue.settle, visits[index], outcome, began)

        requests = [visit.request for visit in visits]
        try:
            self._engine.draw_between(requests, [partial(self._heard, visit) for visit in visits], deliver)
        except EngineLost as lost:
            for visit in visits:
                post(self._loop, visit.fail, lost)
            raise
        except Exception as error:
            # A mistake of ours that may be one request's: the job goes on, and each is drawn alone after it.
            self._is_over = True
            self._log.error("drawing between two steps broke", job=self._turn.job.id, exception=error)
            for visit in visits:
                post(self._loop, self._queue.settle, visit, NotNow(), began)

    def _heard(self, visit: Visit, progress: Progress) -> Reply:
        """Hear from the engine of a creature: the job, which waits, has not hung either."""
        now = self._monotonic()
        if now - self._kept >= TELL_SECONDS:
            self._kept = now
            self._turn.keep()
        return visit.report(progress)

    def _taken(self) -> tuple[list[Visit], float]:
        taking = self._take()
        try:
            return asyncio.run_coroutine_threadsafe(taking, self._loop).result()
        except CancelledError:
            return [], 0.0  # the event loop is ending
        except RuntimeError:
            taking.close()
            return [], 0.0  # the event loop has ended

    async def _take(self) -> tuple[list[Visit], float]:
        return self._queue.take_between()
