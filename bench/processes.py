"""Starts a server as a real process, waits until it answers, and always ends it.

Owns no knowledge of what the server is or how it is asked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.cores import pinned
from bench.errors import BenchError

POLL_SECONDS = 0.005
START_LIMIT_SECONDS = 30.0
STOP_LIMIT_SECONDS = 10.0


@dataclass(frozen=True)
class Program:
    """How one server is started."""

    name: str
    argv: tuple[str, ...]
    port: int
    folder: Path
    output: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A server that has answered once."""

    program: Program
    pid: int
    ready_seconds: float


@contextmanager
def running(
    program: Program, ready: Callable[[int], bool], core: int | None = None, limit_seconds: float | None = None
) -> Iterator[Running]:
    """Start a server, wait until `ready(port)` is true, and end it on the way out."""
    with program.output.open("ab") as output:
        started = time.perf_counter()
        with pinned(core) if core is not None else nullcontext():
            process = subprocess.Popen(
                program.argv,
                cwd=program.folder,
                env=_environment(program.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait(program, process, ready, started, limit_seconds or START_LIMIT_SECONDS)
            yield Running(program, process.pid, time.perf_counter() - started)
        finally:
            _stop(process)


@contextmanager
def standing_still(servers: Iterable[Running]) -> Iterator[None]:
    """Let servers not run meanwhile, with all their processes: some are busy even while they wait for work."""
    stopped: list[Running] = []
    try:
        for one in servers:
            os.killpg(one.pid, signal.SIGSTOP)
            stopped.append(one)
        yield
    finally:
        for one in stopped:
            os.killpg(one.pid, signal.SIGCONT)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of the server, plus the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MINIMON_")}
    return {**kept, **extra}


def _wait(
    program: Program, process: subprocess.Popen[bytes], ready: Callable[[int], bool], started: float, limit: float
) -> None:
    while not ready(program.port):
        if process.poll() is not None:
            raise BenchError(f"{program.name} ended with status {process.returncode}:\n{_tail(program.output)}")
        if time.perf_counter() > started + limit:
            raise BenchError(f"{program.name} gave no answer within {limit:.0f} s:\n{_tail(program.output)}")
        time.sleep(POLL_SECONDS)
    if process.poll() is not None:
        raise BenchError(f"{program.name} ended, and another program answers on its port {program.port}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and kill it when it does not; no child that it forgot outlives it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        if not _has_ended(process.pid, STOP_LIMIT_SECONDS):
            print(f"process {process.pid} did not end when asked and was killed", file=sys.stderr)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _has_ended(pid: int, seconds: float) -> bool:
    """Wait for the end of a process, and leave its number taken: the group of that number is still its own."""
    until = time.perf_counter() + seconds
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.perf_counter() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:])
