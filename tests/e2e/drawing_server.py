"""A server like any other, but that a crayon draws its prompts. Started by tests: `python -m tests.e2e.drawing_server`.

CRAYON_STEP_SECONDS slows the crayon down, CRAYON_DIARY is the file that it writes each drawing into.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import gen_server
from minimon_server.environment import read_settings
from minimon_server.errors import StartupError
from minimon_server.terminal import leave, say
from tests.crayon import Crayon, drawing_with
from tests.e2e.running import HOME, RunningServer


def main() -> int:
    """Serve until a signal ends it."""
    diary = os.environ.get("CRAYON_DIARY")
    engine = Crayon(
        step_seconds=float(os.environ.get("CRAYON_STEP_SECONDS", "0")), diary=Path(diary) if diary else None
    )
    try:
        settings = read_settings(os.environ, home=gen_server.HOME, here=Path.cwd())
        gen_server.run(settings, os.environ, drawing_with(engine))
    except StartupError as error:
        for line in error.lines:
            say(line)
        return error.exit_status
    return 0


class DrawingServer(RunningServer):
    """Such a server in a process of its own, its command after those words that are to stand before it."""

    def __init__(self, cwd: Path, before: Sequence[str] = (), **environ: str) -> None:
        command = [*before, sys.executable, "-m", "tests.e2e.drawing_server"]
        super().__init__(cwd, command, PYTHONPATH=str(HOME), MINIMON_RATE_LIMIT_PER_MIN="0", **environ)


if __name__ == "__main__":
    status = main()
    leave(status)
    sys.exit(status)
