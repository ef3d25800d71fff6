"""What the process is given before it listens: an event loop, and enough open files. Listens to nothing."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from minimon_server.errors import Text
from minimon_server.logs import Logger
from minimon_server.web.readiness import Choice

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_ENOUGH_FILES: Final = Text("la limite suffit à MINIMON_MAX_CONNECTIONS", "enough for MINIMON_MAX_CONNECTIONS")
_RAISED_FILES: Final = Text(
    "la limite du processus, relevée pour MINIMON_MAX_CONNECTIONS",
    "the limit of the process, raised for MINIMON_MAX_CONNECTIONS",
)
_FEW_FILES: Final = Text(
    "moins que MINIMON_MAX_CONNECTIONS n'en demande : le système n'en permet pas plus",
    "fewer than MINIMON_MAX_CONNECTIONS asks for: the system allows no more",
)


def allow_files(wanted: int, log: Logger) -> Choice:
    """Raise this process's limit of open files towards `wanted`, a connection being one; say so when it stays short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return Choice(None if soft == resource.RLIM_INFINITY else soft, _ENOUGH_FILES)
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= wanted:
        return Choice(soft, _RAISED_FILES)
    log.warning("fewer files may be open than MINIMON_MAX_CONNECTIONS allows", files=soft, wanted=wanted)
    return Choice(soft, _FEW_FILES)


def event_loop(log: Logger) -> tuple[LoopFactory | None, Choice]:
    """Return what makes the event loop: uvloop, or asyncio's own (None) with the reason in the log."""
    try:
        from uvloop import new_event_loop
    except ModuleNotFoundError:
        log.warning("uvloop is not installed here: asyncio's own, slower loop is used")
        return None, Choice("asyncio", Text("uvloop n'est pas installé ici", "uvloop is not installed here"))
    faster = Text("un chemin plus court à travers TLS que celui d'asyncio", "a shorter way through TLS than asyncio's")
    return new_event_loop, Choice("uvloop", faster)


def run(main: Coroutine[Any, Any, T], loop: LoopFactory | None) -> T:
    """Run `main` on the loop that was chosen, and return what it does."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)
