"""One drawing that somebody waits for on an open connection, or that is made ahead. Owns no queue and no engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from minimon_server.engines.messages import DrawnPicture, DrawRequest, Phase, Progress, Reply


class Visit:
    """One drawing. Made on the event loop; `report` alone is called on the engine's thread."""

    def __init__(self, request: DrawRequest, *, ahead: bool, monotonic: Callable[[], float]) -> None:
        self.request = request
        self.ahead = ahead
        self.future: asyncio.Future[DrawnPicture] = asyncio.get_running_loop().create_future()
        self.phase: Phase = "loading"
        self.alone = False  # to be drawn neither with others nor between the steps of a job
        self.has_ended = False  # in the engine's hands: what becomes of it is known
        self._monotonic = monotonic
        self._stop = threading.Event()
        self.moved = monotonic()

    def stop(self) -> None:
        """Let the engine stop within its step."""
        self._stop.set()

    def fail(self, error: Exception) -> None:
        """Tell whoever waits, if somebody still does."""
        if not self.future.done():
            self.future.set_exception(error)

    def report(self, progress: Progress) -> Reply:
        """Hear from the engine, on its thread, and say whether to go on."""
        self.phase, self.moved = progress.phase, self._monotonic()
        return Reply.STOP if self._stop.is_set() else Reply.GO_ON
