"""Measures the time from starting a server to its first answer of /health; loads nothing."""

from __future__ import annotations

from bench import contenders
from bench.contenders import Contender
from bench.cores import pinned
from bench.plan import Stage
from bench.processes import POLL_SECONDS, running
from bench.report import Figure, Part, Row


def measure(stage: Stage) -> Part:
    """Start ours and the plain FastAPI program in turn, several times."""
    times: dict[str, list[float]] = {}
    with pinned(stage.cores.load):
        for _ in range(stage.plan.starts + 1):
            for contender in (contenders.ours(stage), contenders.plain_fastapi(stage)):
                times.setdefault(contender.name, []).append(_start(stage, contender))
    figures: dict[str, Figure | str] = {name: Figure.of(milliseconds[1:]) for name, milliseconds in times.items()}
    note = (
        f"Start: from starting the process to the first 200 of /health over HTTPS, asked every "
        f"{POLL_SECONDS * 1000:.0f} ms; {stage.plan.starts} starts in turn after one that does not count."
    )
    return Part((Row("start to first /health, ms", figures, compared=True),), (note,))


def _start(stage: Stage, contender: Contender) -> float:
    with running(contender.program, contender.ready, stage.cores.server) as server:
        return server.ready_seconds * 1000
