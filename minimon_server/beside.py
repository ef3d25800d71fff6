"""Work that may hang for ever, as a disk that does not answer, done beside the event loop. Knows no disk."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

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
