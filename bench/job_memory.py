"""Measures the memory of a server that draws and forgets very many jobs; judges nothing but growth."""

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
    seconds: float


def measure(stage: Stage) -> Grown:
    """Submit all jobs over the same connections, and see each of them through."""
    program = job_contenders.crayon(stage, Places(stage.folder / "memory"), 0.0, BOUNDS)
    early, wanted = stage.plan.memory_jobs // 10, stage.plan.memory_jobs
    seen: list[tuple[int, Memory]] = []
    with pinned(stage.cores.load), running(program, job_contenders.listening, stage.cores.server) as server:
        lines = [Line(program.port) for _ in range(CONNECTIONS)]
        began, submitted = time.perf_counter(), 0
        try:
            for goal in (early, wanted):
                while submitted < goal:
                    submit(lines, min(len(lines), goal - submitted))
                    submitted += min(len(lines), goal - submitted)
                time.sleep(SETTLE_SECONDS)
                seen.append((submitted, proc.memory(server.pid)))
            seconds = time.perf_counter() - began
            lines[0].renew()
            check_done(lines[0], wanted)
        finally:
            for line in lines:
                line.close()
    (early_jobs, before), (jobs, after) = seen
    return Grown(early_jobs, before, jobs, after, seconds)


def submit(lines: list[Line], count: int) -> None:
    """Submit a job on each of so many connections, then wait for the picture of the last: one client's go in order."""
    for line in lines[:count]:
        line.send("POST", "/generate", BODY)
    accepted = [line.read(202) for line in lines[:count]]
    last = job_client.job_id(accepted[-1])
    if not lines[0].ask("GET", f"/image/{last}?wait=30").startswith(client.PNG):
        raise BenchError("a job of the crayon ended without a picture")


def check_done(line: Line, jobs: int) -> None:
    """Fail unless the server counts as many successes as were submitted."""
    text = line.ask("GET", "/metrics").decode("utf-8")
    found = [float(one.split()[1]) for one in text.splitlines() if one.startswith("minimon_job_duration_seconds_count")]
    if found != [float(jobs)]:
        raise BenchError(f"{jobs} jobs were submitted, but /metrics tells of {found} that succeeded")
