"""The drawings of the interactive queue, batch by batch, on the worker's engine. Claims no job and keeps no queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from minimon_server.beside import cancelled
from minimon_server.engines.messages import EngineLost
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.interactive import Interactive
from minimon_server.jobs.store import JobStore
from minimon_server.jobs.visit import Visit
from minimon_server.logs import Logger

FOR_EVER: Final = 1e6  # seconds


class Serving:
    """The worker's hand for what is not a job."""

    def __init__(
        self,
        queue: Interactive,
        engine: EngineThread,
        store: JobStore,
        log: Logger,
        *,
        lose: Callable[[EngineLost], None],
        discard: Callable[[], Awaitable[None]],
    ) -> None:
        """`lose` hears that the engine is gone for good; `discard` closes one that broke."""
        self.queue = queue
        self._engine = engine
        self._store = store
        self._log = log
        self._lose = lose
        self._discard = discard

    async def some(self) -> bool:
        """Draw what is waited for on connections, or what is made ahead; return whether there was any."""
        await self.queue.gathered()
        visits = self.queue.next()
        if not visits:
            return False
        aside = asyncio.create_task(self._set_aside(visits)) if visits[0].ahead else None
        try:
            lost = await self.queue.serve(visits, self._engine)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._log.error("the engine broke", exception=error)
        else:
            if lost is not None:
                self._lose(lost)
            return True
        finally:
            if aside is not None:
                await cancelled(aside)
        # Outside the handler: a traceback would keep alive what the engine must give back.
        await self._discard()
        return True

    async def _set_aside(self, visits: Sequence[Visit]) -> None:
        """Stop what is made ahead as soon as anybody waits, for a job too."""
        tasks = [asyncio.create_task(one) for one in (self._store.wait_for_work(FOR_EVER), self.queue.somebody())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for visit in visits:
                visit.stop()
        finally:
            for task in tasks:
                await cancelled(task)
