"""Work that may hang for ever, as a disk that does not answer, done beside the event loop. Knows no disk."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Found = TypeVar("Found")


async def in_thread(work: Callable[[], Found], name: str) -> Found:
    """Do work in a thread of its own, which holds up neither the end of this process nor those of a pool."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    outcome: list[Found | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            loop.call_soon_threadsafe(told.set)

    threading.Thread(target=run, name=name, daemon=True).start()
    await told.wait()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task of ours that nobody needs any longer, and return when it has ended; what it raised is dropped."""
    task.cancel()
    await asyncio.wait({task})


class Crew:
    """Threads for work that may hang for ever, so many at once and no more. For the event loop."""

    def __init__(self, name: str, at_once: int, patience: float) -> None:
        """`patience` is for how many seconds whoever asks waits."""
        self.patience = patience
        self._name = name
        self._free = asyncio.Semaphore(at_once)

    async def do(self, work: Callable[[], Found]) -> Found:
        """Return what the work does; raise `TimeoutError` when it, or those before it, take too long."""
        async with asyncio.timeout(self.patience):
            await self._free.acquire()
            doing = asyncio.create_task(in_thread(work, self._name))
            doing.add_done_callback(self._done)  # not before: the thread may hang on
            return await asyncio.shield(doing)

    def _done(self, doing: asyncio.Task[Any]) -> None:
        self._free.release()
        if not doing.cancelled():
            doing.exception()  # of work that nobody waits for any longer there is nobody to tell
