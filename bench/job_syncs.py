"""Counts what a server syncs for a job, by strace, beside no measurement: a traced process is slow. Knows no HTTP."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, ToolMissingError

ATTACH_SECONDS = 10.0
SYNC = re.compile(r"\bf(?:data)?sync\(\d+<([^>]*)>")


@dataclass(frozen=True)
class Syncs:
    """Syncs a job: those of the journal, and those of its picture and the folder that it lies in."""

    journal: float
    pictures: float


def count(pid: int, trace: Path, journal: Path, draw: Callable[[], object], jobs: int) -> Syncs:
    """Trace a server while `draw` is called for each of some jobs, one after the other."""
    strace = shutil.which("strace")
    if strace is None:
        raise ToolMissingError("strace is missing; install it with: apt-get install strace")
    argv = (strace, "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(trace), "-p", str(pid))
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _wait_until_attached(pid, process)
        for _ in range(jobs):
            draw()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=ATTACH_SECONDS)
    return parse(trace.read_text("utf-8", "replace"), journal, jobs)


def parse(trace: str, journal: Path, jobs: int) -> Syncs:
    """Read what strace wrote: one line a call, one more where another thread's call came in between."""
    paths = SYNC.findall(trace)
    if not paths:
        raise BenchError("strace saw no sync at all")
    of_journal = sum(path.startswith(str(journal)) for path in paths)
    return Syncs(of_journal / jobs, (len(paths) - of_journal) / jobs)


def _wait_until_attached(pid: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + ATTACH_SECONDS
    while not _all_traced(pid):
        if process.poll() is not None or time.monotonic() > until:
            why = process.stderr.read() if process.poll() is not None and process.stderr else ""
            raise ToolMissingError(f"strace may not trace here: {why.strip()}")
        time.sleep(0.01)


def _all_traced(pid: int) -> bool:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)
