"""Measures how soon `/health` answers while a picture is made on the same core, and while nothing happens."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

from bench import job_client
from bench.disk import quantile
from bench.errors import BenchError
from bench.job_client import Line
from bench.job_wish import wish
from bench.plan import Stage

# A person or a probe does not hammer: it looks, and looks again.
PAUSE_SECONDS = 0.005
LONG_STEPS = 150


@dataclass
class Answered:
    """Milliseconds of every answer."""

    ms: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        """Half of the answers took no longer."""
        return quantile(self.ms, 0.5)

    @property
    def p99(self) -> float:
        """Of a hundred answers, one took longer."""
        return quantile(self.ms, 0.99)


def measure(stage: Stage, port: int) -> tuple[Answered, Answered]:
    """Poll over one connection while pictures are drawn without a pause, then at rest."""
    drawing, resting = Answered(), Answered()
    line, looking = Line(port), Line(port)
    try:
        line.ask("GET", "/health")
        until, job = time.perf_counter() + stage.plan.health_seconds, ""
        while time.perf_counter() < until:
            job = job_client.job_id(looking.ask("POST", "/generate", wish(7, LONG_STEPS), wanted=202))
            _wait_for(looking, job, "PROGRESS")
            while _state(looking, job) == "PROGRESS":
                _poll(line, drawing, 50)
        _wait_for(looking, job, "SUCCESS")
        line.renew()
        for _ in range(stage.plan.health_seconds):
            _poll(line, resting, 100)
    finally:
        line.close()
        looking.close()
    return drawing, resting


def _poll(line: Line, answered: Answered, times: int) -> None:
    for _ in range(times):
        began = time.perf_counter()
        line.ask("GET", "/health")
        answered.ms.append(1000 * (time.perf_counter() - began))
        time.sleep(PAUSE_SECONDS)


def _state(line: Line, job: str) -> str:
    return str(json.loads(line.ask("GET", f"/status/{job}"))["state"])


def _wait_for(line: Line, job: str, wanted: str) -> None:
    until = time.monotonic() + job_client.WAIT_SECONDS
    while (state := _state(line, job)) != wanted:
        if state in ("FAILURE", "REVOKED") or time.monotonic() > until:
            raise BenchError(f"a job is {state} instead of {wanted}")
        time.sleep(PAUSE_SECONDS)
