"""Drawings that somebody waits for on an open connection, and those made ahead: a bounded queue without a journal.

Beside the jobs, on their engine and their thread. What waits here goes before the next job, but never more than
`IN_A_ROW` at a time; what is made ahead goes after everything. Those who wait at once are drawn side by side,
`batch` at the most. Claims no job, and owns no engine.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from minimon_server.creatures.drawn import SetAside
from minimon_server.engines.messages import (
    DrawnPicture,
    DrawRequest,
    EngineFault,
    EngineLost,
    NotNow,
    Outcome,
    Stopped,
)
from minimon_server.errors import QueueFull, Text
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.errors import EngineUnavailable
from minimon_server.jobs.pace import Pace
from minimon_server.jobs.visit import Visit
from minimon_server.logs import Logger

IN_A_ROW: Final = 8
USUAL_LIMIT: Final = 64
# Who comes while others were just drawn together is likely not the last: so long it is waited for those who follow. One
# who comes alone waits for nobody.
WINDOW_SECONDS: Final = 0.003
BUSY_SECONDS: Final = 0.05
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


class Interactive:
    """Owned by the event loop. `draw` is for whoever wants a picture; everything else is the worker's."""

    def __init__(
        self,
        log: Logger,
        *,
        most: int = USUAL_LIMIT,
        batch: int = IN_A_ROW,
        load_seconds: float = 1800.0,
        step_seconds: float = 300.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """At most `most` may wait, and `batch`, 1 to `IN_A_ROW`, are drawn side by side.

        Without progress for `load_seconds`, `step_seconds`, the engine counts as hung.
        """
        self.pace = Pace()
        self.limit = most
        self.batch = batch
        self._log = log
        self._patience = {"loading": load_seconds, "drawing": step_seconds, "decoding": step_seconds}
        self._monotonic = monotonic
        self._waiting: deque[Visit] = deque()
        self._ahead: deque[Visit] = deque()
        self._arrived = asyncio.Event()
        self._in_a_row = 0
        self._busy_until = -1.0
        self._now: list[Visit] = []
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
        last = max(self._now, key=lambda visit: visit.moved, default=None)
        return last is not None and self._monotonic() - last.moved > self._patience[last.phase]

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

    async def gathered(self) -> None:
        """Return when those who come at the same moment stand together: at once where somebody is alone."""
        several = len(self._waiting) > 1 or (self._waiting and self._monotonic() < self._busy_until)
        if not several or self._closed:
            return
        deadline = asyncio.get_running_loop().time() + WINDOW_SECONDS
        while 0 < len(self._waiting) < self.batch:
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def next(self) -> list[Visit]:
        """Take what is to be drawn next, side by side: what is made ahead only when nobody waits."""
        queue = self._waiting or self._ahead
        if not queue:
            return []
        first = queue.popleft()
        company = first.request.company
        if first.alone or company is None:
            return [first]
        room = self.batch if first.ahead else min(self.batch, IN_A_ROW - self._in_a_row)
        fit = [one for one in queue if not one.alone and one.request.company == company]
        taken = [first, *fit[: max(0, room - 1)]]
        for one in taken[1:]:
            queue.remove(one)
        return taken

    async def serve(self, visits: Sequence[Visit], engine: EngineThread) -> EngineLost | None:
        """Let the engine draw some side by side; return an `EngineLost`, which is the end of this engine.

        Raises whatever else the engine does, a mistake of ours, after which it must be made anew; those who were not
        alone are drawn again, alone.
        """
        self._in_a_row += sum(not visit.ahead for visit in visits)
        began = self._begin(visits)
        requests, reports = [visit.request for visit in visits], [visit.report for visit in visits]
        try:
            await engine.draw_together(requests, reports, lambda index, found: self.settle(visits[index], found, began))
        except EngineLost as lost:
            for visit in visits:
                visit.fail(lost)
            return lost
        except BaseException as error:
            self._broke([visit for visit in visits if not visit.has_ended], error)
            raise
        finally:
            self._now = []
            if len(visits) > 1:
                self._busy_until = self._monotonic() + BUSY_SECONDS
        return None

    def _begin(self, visits: Sequence[Visit]) -> float:
        began = self._monotonic()
        for visit in visits:
            visit.moved, visit.has_ended = began, False
        self._now = list(visits)
        return began

    def take_between(self) -> tuple[list[Visit], float]:
        """Take those who are to be drawn between two steps of a job, and say when that begins; none: an empty list.

        To be followed by `settle` for each of them, and `rest`; or by `put_back`.
        """
        visits = self.next() if self._waiting and not self._waiting[0].alone else []
        return visits, self._begin(visits) if visits else 0.0

    def put_back(self, visits: Sequence[Visit]) -> None:
        """Let those who were taken and not drawn wait where they were."""
        self._now = []
        self._waiting.extendleft(visit for visit in reversed(visits) if not visit.future.done())
        self._arrived.set()

    def rest(self) -> None:
        """Nothing of these is in the engine's hands any more."""
        self._now = []

    def settle(self, visit: Visit, outcome: Outcome, began: float) -> None:
        """Tell whoever waits what became of a drawing, if somebody still does and nobody has told it."""
        if visit.has_ended:
            return
        visit.has_ended = True
        if isinstance(outcome, NotNow):
            self._again(visit)
        elif isinstance(outcome, Stopped):
            visit.fail(SetAside() if visit.ahead and not self._closed else EngineUnavailable(ENDING))
        elif isinstance(outcome, EngineFault):
            self._log.warning("the engine could not draw a creature", exception=outcome)
            visit.fail(outcome)
        else:
            self.pace.add(visit.request, (self._monotonic() - began) / max(1, len(self._now)))
            if not visit.future.done():
                visit.future.set_result(outcome)

    def _broke(self, left: Sequence[Visit], error: BaseException) -> None:
        """Let those who were not the only one be drawn alone: one of them may be what broke the engine."""
        for visit in reversed(left):
            if len(left) > 1 and isinstance(error, Exception):
                self._again(visit)
            else:
                visit.fail(EngineFault(BROKEN))

    def _again(self, visit: Visit) -> None:
        """Let one be drawn next, alone."""
        visit.alone = True
        if not visit.future.done():
            (self._ahead if visit.ahead else self._waiting).appendleft(visit)
            self._arrived.set()

    def close(self) -> None:
        """Take no more; what waits is still drawn."""
        self._closed = True
        for visit in (*self._ahead, *(one for one in self._now if one.ahead)):
            visit.stop()
            visit.fail(EngineUnavailable(ENDING))
        self._ahead.clear()

    def end(self) -> bool:
        """Stop what is drawn and turn away who waits; return whether something was being drawn."""
        self.close()
        for visit in (*self._waiting, *self._now):
            visit.stop()
            visit.fail(EngineUnavailable(ENDING))
        self._waiting.clear()
        return bool(self._now)
