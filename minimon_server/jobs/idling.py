"""When an engine that nobody uses gives its memory back. Loads nothing: the next job does."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.logs import Logger


class Idling:
    """Owned by the worker, which says when the engine was used and looks when there is nothing to do."""

    def __init__(
        self,
        engine: EngineThread,
        close: Callable[[], Awaitable[None]],
        seconds: float,
        log: Logger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds` without a job are enough to `close` the engine; 0: never."""
        self.times = 0
        self._engine = engine
        self._close = close
        self._seconds = seconds
        self._log = log
        self._monotonic = monotonic
        self._used = monotonic()

    def used(self) -> None:
        """Count from now."""
        self._used = self._monotonic()

    async def look(self) -> None:
        """Close the engine if it was not used for long enough; the event loop goes on meanwhile."""
        idle = self._monotonic() - self._used
        if not self._seconds or self._engine.loaded is None or idle < self._seconds:
            return
        loaded = self._engine.loaded
        await self._close()
        self.times += 1
        self._log.info("the idle engine was closed", model=str(loaded), idle_seconds=round(idle))
