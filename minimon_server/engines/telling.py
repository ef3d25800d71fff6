"""Who says how far a request is, and hears that nobody wants it any more. Draws nothing."""

from __future__ import annotations

from typing import Protocol

from minimon_server.engines.messages import Phase, Progress, Reply, Report, Stopped


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
