"""Measures the memory of a server that draws, cancels and forgets very many jobs; judges nothing but growth."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench import client, job_client, job_contenders, proc
from bench.cores import pinned
from bench.errors import BenchError
from bench.job_client import Line
from bench.job_contenders import Places
from bench.plan import Stage
from bench.proc import Memory
from bench.processes import running

CONNECTIONS = 32
DRAWN_OF = 4  # one job of so many is drawn, or a few more; the rest is cancelled
OK, CONFLICT = 200, 409
SETTLE_SECONDS = 2.0
HISTORY = 200
BOUNDS = {
    "MINIMON_HISTORY_LIMIT": str(HISTORY),
    "MINIMON_OUTPUT_MEGABYTES": "16",
    "MINIMON_QUEUE_LIMIT": "1000",
    "MINIMON_QUEUE_LIMIT_PER_CLIENT": "1000",
}
BODY = {"prompt": "a lighthouse", "model": "tiny", "steps": 1}


@dataclass(frozen=True)
class Grown:
    """What a server held after a tenth of the jobs and after all."""

    early_jobs: int
    early: Memory
    jobs: int
    late: Memory
    drawn: int
    seconds: float


def measure(stage: Stage) -> Grown:
    """Submit all jobs over the same connections, and see each of them through."""
    program = job_contenders.crayon(stage, Places(stage.folder / "memory"), 0.0, BOUNDS)
    early, wanted = stage.plan.memory_jobs // 10, stage.plan.memory_jobs
    seen: list[tuple[int, Memory]] = []
    with pinned(stage.cores.load), running(program, job_contenders.listening, stage.cores.server) as server:
        lines = [Line(program.port) for _ in range(CONNECTIONS)]
        began, submitted, drawn = time.perf_counter(), 0, 0
        try:
            for goal in (early, wanted):
                while submitted < goal:
                    count = min(len(lines), goal - submitted)
                    drawn += submit(lines, count)
                    submitted += count
                time.sleep(SETTLE_SECONDS)
                seen.append((submitted, proc.memory(server.pid)))
            seconds = time.perf_counter() - began
            lines[0].renew()
            check_done(lines[0], drawn)
        finally:
            for line in lines:
                line.close()
    (early_jobs, before), (jobs, after) = seen
    return Grown(early_jobs, before, jobs, after, drawn, seconds)


def submit(lines: list[Line], count: int) -> int:
    """Submit a job on each of so many connections, cancel most of them, wait for the rest; return how many were drawn.

    A job that is drawn before its cancel comes is drawn all the same: 409.
    """
    for line in lines[:count]:
        line.send("POST", "/generate", BODY)
    ids = [job_client.job_id(line.read(202)) for line in lines[:count]]
    kept = max(1, count // DRAWN_OF)
    for line, job in zip(lines[kept:count], ids[kept:], strict=True):
        line.send("DELETE", f"/jobs/{job}")
    cancelled = sum(line.status(OK, CONFLICT) == OK for line in lines[kept:count])
    for line, job in zip(lines, ids[:kept], strict=False):
        line.send("GET", f"/image/{job}?wait={job_client.WAIT_SECONDS}")
    for line in lines[:kept]:
        if not line.read().startswith(client.PNG):
            raise BenchError("a job of the crayon ended without a picture")
    return count - cancelled


def check_done(line: Line, drawn: int) -> None:
    """Fail unless the server counts as many pictures as were neither cancelled nor lost."""
    until = time.monotonic() + job_client.WAIT_SECONDS
    while (found := _successes(line)) != drawn:
        if time.monotonic() > until:
            raise BenchError(f"{drawn} jobs were not cancelled, but /metrics tells of {found} that succeeded")
        time.sleep(0.1)


def _successes(line: Line) -> int:
    text = line.ask("GET", "/metrics").decode("utf-8")
    counted = (one.split()[1] for one in text.splitlines() if one.startswith("minimon_job_duration_seconds_count"))
    return int(float(next(counted)))
