"""Whether this process has lost its engine for good, and why: a step that never ends, or a device that is gone.

Ends nothing: whoever runs the process waits here and begins it anew.
"""

from __future__ import annotations

import asyncio
from typing import Final

from minimon_server.errors import Text
from minimon_server.logs import Logger

# So long an engine may still take to notice that its job was taken from it: one that does was slow, and not hanging.
STUCK_SECONDS: Final = 3.0

HANGS: Final = Text(
    "Le moteur ne montre plus de progrès ; le serveur redémarre de lui-même s'il ne revient pas.",
    "The engine shows no progress; the server begins again by itself if it does not come back.",
)
STUCK: Final = Text(
    "Le moteur est resté bloqué : le serveur redémarre de lui-même.",
    "The engine has hung: the server begins again by itself.",
)


def gone(reason: str) -> Text:
    """Return what is told of an engine that has lost its device."""
    return Text(
        f"Le moteur est perdu, le serveur redémarre : {reason}", f"The engine is lost, a restart follows: {reason}"
    )


class Loss:
    """Owned by the event loop. Once told, it stays."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self.reason: Text | None = None
        self._told = asyncio.Event()
        self._hangs_since: float | None = None

    def tell(self, reason: Text) -> None:
        """Say that the engine draws nothing more in this process; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._log.error("the engine is lost to this process", reason=reason.en)
        self._told.set()

    def look(self, has_lost_its_job: bool, now: float) -> None:
        """See whether the engine still computes for a job that it was told to leave, at `now` seconds."""
        if not has_lost_its_job:
            self._hangs_since = None
        elif self._hangs_since is None:
            self._hangs_since = now
        elif now - self._hangs_since >= STUCK_SECONDS:
            self.tell(STUCK)

    async def wait(self) -> None:
        """Return when the engine is lost."""
        await self._told.wait()
