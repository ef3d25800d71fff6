"""A process that replaces itself by a fresh one, a bounded number of times. Decides not when: `gen_server` does.

A thread that hangs inside a GPU library cannot be ended, and a CUDA context that an error has poisoned cannot be
mended: only a new process can draw again. It has the same id, arguments and environment: no supervisor needs to know.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Final, NoReturn

from minimon_server.errors import StartupError

# When this process replaced itself, in seconds of CLOCK_MONOTONIC, which all processes of one boot share (time(7)).
# Not a setting, and so without their prefix.
VARIABLE: Final = "_MINIMON_RESTARTS"
MOST: Final = 3
QUIET_SECONDS: Final = 600.0
GIVEN_UP: Final = 3  # the exit status


def restarts(environ: Mapping[str, str]) -> list[float]:
    """Return when this process replaced itself before without anything having been drawn since, the oldest first."""
    found = []
    for word in environ.get(VARIABLE, "").split():
        with contextlib.suppress(ValueError):  # whoever wrote something else there may have one restart more
            found.append(float(word))
    return found


def begin_again(environ: Mapping[str, str], *, drew: bool, patience: float, now: float) -> NoReturn:
    """Replace this process; raise `StartupError` after `MOST` times in a row in which nothing was drawn.

    In a row: within ten minutes, and the `patience` in seconds that each loss may take until it is seen.

    Everything must be written and closed: no thread survives, and descriptors close, as Python opens them all.
    """
    window = QUIET_SECONDS + MOST * patience
    earlier = [] if drew else [then for then in restarts(environ) if now - then < window]
    if len(earlier) >= MOST:
        lost = f"the engine was lost {len(earlier) + 1} times within {window / 60:.0f} minutes and drew nothing between"
        raise StartupError([f"{lost}: the server gives up; the log tells each cause"], exit_status=GIVEN_UP)
    told = " ".join(f"{then:.0f}" for then in [*earlier, now])
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):  # a full disk or a closed terminal keeps nobody from beginning again
                stream.flush()
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environ, VARIABLE: told})  # noqa: S606
    except OSError as error:
        problem = f"the server cannot begin again: {sys.executable}: {error.strerror}"
        raise StartupError([problem], exit_status=GIVEN_UP) from error
