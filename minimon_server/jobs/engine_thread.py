"""The one thread that an engine lives on: made there, asked there, closed there. Knows no job.

A thread of its own, not a pool with a limit of one: what a GPU library keeps for a thread must be found again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from minimon_server.engines.messages import NO_INPUTS, Deliver, Drawn, DrawRequest, Engine, Outcome, Report, Stack

T = TypeVar("T")


class EngineThread:
    """Owns an engine, which is made when it is first needed, and again after it broke."""

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        self._make = make_engine
        self._engine: Engine | None = None
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        self.loaded: Stack | None = None

    async def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        """Let the engine draw, and return or raise what it does."""
        return await self._call(lambda: self._draw(request, report, inputs))

    async def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        """Let the engine draw several; `deliver` is called on the event loop, before this returns or raises."""
        loop = asyncio.get_running_loop()

        def hand_over(index: int, outcome: Outcome) -> None:
            post(loop, deliver, index, outcome)

        await self._call(lambda: self._draw_together(requests, reports, hand_over))

    def has_room_for(self, requests: Sequence[DrawRequest]) -> bool:
        """Whether the engine can draw these within a report of what it draws. For its own thread."""
        return self._engine is not None and self._engine.has_room_for(requests)

    def draw_between(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        """Let the engine draw these within a report of what it draws. For its own thread; `deliver` is called on it."""
        self._made().draw_together(requests, reports, deliver)

    async def discard(self) -> None:
        """Close the engine; the next request makes another."""
        await self._call(self._close)

    def end(self) -> None:
        """Close the engine when it is done, and end the thread. Waits for neither."""
        self._calls.put(self._close)
        self._calls.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread, and return whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes]) -> Drawn:
        engine = self._made()
        try:
            return engine.draw(request, report, inputs)
        finally:
            self.loaded = engine.loaded

    def _draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        engine = self._made()
        try:
            engine.draw_together(requests, reports, deliver)
        finally:
            self.loaded = engine.loaded

    def _made(self) -> Engine:
        if self._engine is None:
            self._engine = self._make()
        return self._engine

    def _close(self) -> None:
        engine, self._engine, self.loaded = self._engine, None, None
        if engine is not None:
            engine.close()

    async def _call(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def answer(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return  # whoever asked has gone
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type] # a T whenever there is no error

        def call() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as raised:
                # Whatever an engine raises is its caller's to judge; this thread must live on.
                error = RuntimeError("StopIteration") if isinstance(raised, StopIteration) else raised
            post(loop, answer, result, error)

        self._calls.put(call)
        return await future

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # it holds the pictures of its answer


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> bool:
    """Run a callback on the event loop, and return whether it will be: not after the loop has ended."""
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        return False
    return True
