"""The end of the process: at once while a library still computes on a thread of ours, in order when none does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.running import HOME, PATIENCE

ENDING = """
import atexit, sys, threading
from minimon_server.terminal import leave

atexit.register(print, "torn down")
if {busy}:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
sys.stdout.write("written ")
leave(3)
sys.exit(4)
"""


@pytest.mark.parametrize(("busy", "status", "told"), [(True, 3, "written "), (False, 4, "written torn down\n")])
def test_a_thread_inside_a_library_is_not_torn_down(busy: bool, status: int, told: str) -> None:
    command = [sys.executable, "-c", ENDING.format(busy=busy)]
    ended = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout) == (status, told)
