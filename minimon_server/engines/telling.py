"""Who says how far a request is, and hears that nobody wants it any more, also while files are read. Draws nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final, Protocol, TypeVar

from minimon_server.engines.messages import Phase, Progress, Reply, Report, Stopped

T = TypeVar("T")
BETWEEN_SECONDS: Final = 1.0  # two reports of what has no steps


class Tells(Protocol):
    """Who says how far something is."""

    def tell(self, phase: Phase, current: int, total: int, preview: bytes | None = None) -> None:
        """Say it; raise `Stopped` as soon as nobody wants it any more."""


class Teller:
    """Says how far a request is; raises `Stopped` as soon as nobody wants it any more."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.is_watched = False

    def tell(self, phase: Phase, current: int, total: int, preview: bytes | None = None) -> None:
        reply = self._report(Progress(phase, current, total, preview))
        if not reply:
            raise Stopped
        self.is_watched = reply == Reply.SHOW


def while_told(work: Callable[[], T], tell: Callable[[], None]) -> T:
    """Return what `work` returns or raises, done on a thread of its own; call `tell` every second meanwhile.

    Where `tell` raises, so does this, at once: `work` goes on, and nobody waits for it, nor at the end of the process.
    It is to touch nothing of its caller's.
    """
    done: Future[T] = Future()

    def act() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=act, name="reading", daemon=True).start()
    while not wait([done], BETWEEN_SECONDS).done:
        tell()
    return done.result()
