"""Runs wrk against one address and reads what it prints; owns no server."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cores import pinned
from bench.errors import BenchError, ToolMissingError

CONNECTIONS = 16
ANSWER_LIMIT_SECONDS = 10
OVERTIME_SECONDS = 30.0
BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
AMOUNT = r"(\d+(?:\.\d+)?)"
TOTALS = re.compile(rf"(\d+) requests in {AMOUNT}(us|ms|s|m|h), {AMOUNT}([KMGT]?)B read")
RATE = re.compile(rf"Requests/sec:\s+{AMOUNT}")
BROKEN = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")


@dataclass(frozen=True)
class Shape:
    """What is asked for, over how many connections; a script in Lua says what a request is where it is no GET."""

    path: str
    connections: int = CONNECTIONS
    script: Path | None = None


@dataclass(frozen=True)
class Load:
    """What one round of load came to; `busy` is the share of its core that wrk itself used."""

    answers: int
    seconds: float
    bytes_read: float
    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int
    busy: float = 0.0

    @property
    def bytes_per_answer(self) -> float:
        """Bytes of the wire's plain text for one answer, headers included."""
        return self.bytes_read / self.answers if self.answers else 0.0

    @property
    def megabytes_per_second(self) -> float:
        """Millions of bytes a second, headers included."""
        return self.per_second * self.bytes_per_answer / 1e6


def find() -> str:
    """Return the path of wrk, or say how to install it."""
    path = shutil.which("wrk")
    if path is None:
        raise ToolMissingError("wrk is missing; install it with: apt-get install wrk")
    return path


def run(name: str, url: str, seconds: int, core: int, shape: Shape) -> Load:
    """Put load on the address for some seconds; fail on any answer that is not a good one."""
    argv = [find(), "--latency", "-t1", f"-c{shape.connections}", f"-d{seconds}s", f"--timeout={ANSWER_LIMIT_SECONDS}s"]
    argv += ["-s", str(shape.script)] if shape.script else []
    argv.append(url)
    before = used_by_children()
    with pinned(core):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + OVERTIME_SECONDS, check=False)
    if done.returncode != 0:
        raise BenchError(f"{name}: wrk ended with status {done.returncode}: {done.stdout}{done.stderr}")
    load = parse(done.stdout)
    load = replace(load, busy=(used_by_children() - before) / load.seconds)
    if load.refused or load.broken or not load.answers:
        raise BenchError(
            f"{name}: {load.answers} answers, {load.refused} of them not 2xx, {load.broken} socket errors; "
            "the round does not count"
        )
    return load


def parse(text: str) -> Load:
    """Read the output of `wrk --latency`."""
    totals, rate = TOTALS.search(text), RATE.search(text)
    if totals is None or rate is None:
        raise BenchError(f"wrk printed something unknown:\n{text}")
    broken, refused = BROKEN.search(text), REFUSED.search(text)
    return Load(
        answers=int(totals[1]),
        seconds=float(totals[2]) * SECONDS[totals[3]],
        bytes_read=float(totals[4]) * BYTES[totals[5]],
        per_second=float(rate[1]),
        p50_ms=_percentile(text, 50),
        p99_ms=_percentile(text, 99),
        refused=int(refused[1]) if refused else 0,
        broken=sum(map(int, broken.groups())) if broken else 0,
    )


def used_by_children() -> float:
    """Return the processor time of all ended children: before and after one that runs alone, that of this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+{AMOUNT}(us|ms|s|m|h)$", text, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk printed no {percent}% latency:\n{text}")
    return float(found[1]) * SECONDS[found[2]] * 1e3
