"""Drawings that somebody waits for on an open connection, and those made ahead: a bounded queue without a journal.

Beside the jobs, on their engine and their thread. What waits here goes before the next job, but never more than
`IN_A_ROW` at a time; what is made ahead goes after everything. Claims no job, and owns no engine.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from minimon_server.creatures.drawn import SetAside
from minimon_server.engines.messages import (
    DrawnPicture,
    DrawRequest,
    EngineFault,
    EngineLost,
    Phase,
    Progress,
    Reply,
    Stopped,
)
from minimon_server.errors import QueueFull, Text
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.errors import EngineUnavailable
from minimon_server.jobs.pace import Pace
from minimon_server.logs import Logger

IN_A_ROW: Final = 8
USUAL_LIMIT: Final = 64
ENDING: Final = Text("Le serveur s'arrête.", "The server is shutting down.")
BROKEN: Final = "the engine met an unexpected error; the server's log tells the cause"


class PlayersWait(QueueFull):
    """So many drawings are waited for that no more are taken."""

    def __init__(self, *, limit: int, retry_after: int) -> None:
        super().__init__(limit=limit, of_client=False, retry_after=retry_after)
        self.detail = Text(
            f"{limit} créatures sont déjà attendues ; réessayez dans {retry_after} s.",
            f"{limit} creatures are waited for already; try again in {retry_after} s.",
        )


class Visit:
    """One drawing. Made on the event loop; `report` alone is called on the engine's thread."""

    def __init__(self, request: DrawRequest, *, ahead: bool, monotonic: Callable[[], float]) -> None:
        self.request = request
        self.ahead = ahead
        self.future: asyncio.Future[DrawnPicture] = asyncio.get_running_loop().create_future()
        self.phase: Phase = "loading"
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


class Interactive:
    """Owned by the event loop. `draw` is for whoever wants a picture; everything else is the worker's."""

    def __init__(
        self,
        log: Logger,
        *,
        most: int = USUAL_LIMIT,
        load_seconds: float = 1800.0,
        step_seconds: float = 300.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """At most `most` may wait. Without progress for `load_seconds`, `step_seconds`, the engine counts as hung."""
        self.pace = Pace()
        self.limit = most
        self._log = log
        self._patience = {"loading": load_seconds, "drawing": step_seconds, "decoding": step_seconds}
        self._monotonic = monotonic
        self._waiting: deque[Visit] = deque()
        self._ahead: deque[Visit] = deque()
        self._arrived = asyncio.Event()
        self._in_a_row = 0
        self._now: Visit | None = None
        self._closed = False

    async def draw(self, request: DrawRequest, *, ahead: bool = False) -> DrawnPicture:
        """Return the picture of a request with one seed.

        Raises `PlayersWait`, `EngineUnavailable` when the server ends, `EngineFault` or `EngineLost` as the engine
        did, and `SetAside` for what is made `ahead` as soon as anybody waits. Cancelled, it stops the drawing.
        """
        if self._closed:
            raise EngineUnavailable(ENDING)
        if not ahead and len(self._waiting) >= self.limit:
            raise PlayersWait(limit=self.limit, retry_after=self.pace.retry_after())
        visit = Visit(request, ahead=ahead, monotonic=self._monotonic)
        queue = self._ahead if ahead else self._waiting
        queue.append(visit)
        self._arrived.set()
        try:
            return await visit.future
        finally:
            visit.stop()
            if visit in queue:
                queue.remove(visit)

    @property
    def waiting(self) -> int:
        """How many are waited for, and not being drawn yet."""
        return len(self._waiting)

    @property
    def is_next(self) -> bool:
        """Whether the next drawing is one of these: jobs get their turn after so many in a row."""
        return bool(self._waiting) and self._in_a_row < IN_A_ROW

    @property
    def hangs(self) -> bool:
        """Whether the engine has shown no progress with one of these for too long."""
        now = self._now
        return now is not None and self._monotonic() - now.moved > self._patience[now.phase]

    def give_way(self) -> None:
        """Count anew: it is the jobs' turn."""
        self._in_a_row = 0

    async def arrival(self) -> None:
        """Return when somebody waits, or something is to be made ahead."""
        while not (self._waiting or self._ahead):
            self._arrived.clear()
            await self._arrived.wait()

    async def somebody(self) -> None:
        """Return when somebody waits."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()

    def next(self) -> Visit | None:
        """Take what is to be drawn next: what is made ahead only when nobody waits."""
        queue = self._waiting or self._ahead
        return queue.popleft() if queue else None

    async def serve(self, visit: Visit, engine: EngineThread) -> EngineLost | None:
        """Let the engine draw one; return an `EngineLost`, which is the end of this engine.

        Raises whatever else the engine does, a mistake of ours, after which it must be made anew.
        """
        self._in_a_row += not visit.ahead
        visit.moved = began = self._monotonic()
        self._now = visit
        try:
            drawn = await engine.draw(visit.request, visit.report)
        except Stopped:
            visit.fail(SetAside() if visit.ahead and not self._closed else EngineUnavailable(ENDING))
        except EngineFault as fault:
            self._log.warning("the engine could not draw a creature", exception=fault)
            visit.fail(fault)
        except EngineLost as lost:
            visit.fail(lost)
            return lost
        except BaseException:
            visit.fail(EngineFault(BROKEN))
            raise
        else:
            self.pace.add(visit.request, self._monotonic() - began)
            if not visit.future.done():  # else whoever waited has gone
                visit.future.set_result(drawn.pictures[0])
        finally:
            self._now = None
        return None

    def close(self) -> None:
        """Take no more; what waits is still drawn."""
        self._closed = True
        for visit in (*self._ahead, *([self._now] if self._now and self._now.ahead else [])):
            visit.stop()
            visit.fail(EngineUnavailable(ENDING))
        self._ahead.clear()

    def end(self) -> bool:
        """Stop what is drawn and turn away who waits; return whether something was being drawn."""
        self.close()
        for visit in (*self._waiting, *([self._now] if self._now else [])):
            visit.stop()
            visit.fail(EngineUnavailable(ENDING))
        self._waiting.clear()
        return self._now is not None
