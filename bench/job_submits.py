"""Measures how many jobs a second become durable over 64 connections while nobody draws; holds the journal against it.

Beside it, in the same rounds, what the disk itself can append and sync.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import disk, job_contenders, load, proc
from bench.cores import pinned
from bench.disk import Appended
from bench.errors import BenchError
from bench.job_contenders import Places
from bench.job_race import PAGE, PAGES_A_COMMIT
from bench.load import Load, Shape
from bench.plan import Stage
from bench.processes import running
from bench.race import FOREIGN_LIMIT

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("submit.lua")
# The first job keeps the engine busy for longer than any run; the rest wait.
STEP_SECONDS = 200.0
DISK_SECONDS = 1.0
SETTLE_SECONDS = 1.0
MANY = {"MINIMON_QUEUE_LIMIT": "1000000", "MINIMON_QUEUE_LIMIT_PER_CLIENT": "1000000"}


@dataclass
class Submitted:
    """What came of it."""

    rounds: list[Load] = field(default_factory=list)
    disk: list[Appended] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    answered: int = 0
    written: int = 0

    @property
    def doubtful(self) -> bool:
        """Whether the load generator had no core to itself."""
        return any(one.busy > 1 - FOREIGN_LIMIT for one in self.rounds)


def measure(stage: Stage) -> Submitted:
    """Submit for some rounds after one that does not count."""
    places = Places(stage.folder / "submits")
    program = job_contenders.crayon(stage, places, STEP_SECONDS, MANY)
    ids, script = stage.folder / "ids", stage.folder / "submit.lua"
    script.write_text(f'local ids = "{ids}"\n{SCRIPT.read_text("utf-8")}', encoding="utf-8")
    ids.touch()
    shape, seen, plan = Shape("/generate", CONNECTIONS, script), Submitted(), stage.plan
    url = f"http://127.0.0.1:{program.port}{shape.path}"
    with running(program, job_contenders.listening, stage.cores.server) as server:
        load.run(program.name, url, plan.warm_up_seconds, stage.cores.load, shape)
        for _ in range(plan.submit_rounds):
            with pinned(stage.cores.server):
                seen.disk.append(disk.append(stage.folder / "disk", PAGE * PAGES_A_COMMIT, DISK_SECONDS))
            used = proc.cpu_seconds(server.pid)
            done = load.run(program.name, url, plan.round_seconds, stage.cores.load, shape)
            used = proc.cpu_seconds(server.pid) - used
            seen.rounds.append(done)
            seen.processor_ms.append(1000 * used / done.answers)
        time.sleep(SETTLE_SECONDS)  # what was in flight when the load ended is still written
        answered = set(ids.read_text("ascii").split())
        written = ids_in(places.journal)
    check(answered, written, CONNECTIONS * (1 + plan.submit_rounds))
    return replace(seen, answered=len(answered), written=len(written))


def ids_in(journal: Path) -> set[str]:
    """Return the ids of all jobs in a journal."""
    with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as db:
        return {row[0] for row in db.execute("SELECT id FROM jobs")}


def check(answered: set[str], written: set[str], in_flight: int) -> None:
    """Fail when a job was accepted that is not in the journal, or more are there than can have been in flight."""
    if lost := answered - written:
        raise BenchError(f"{len(lost)} jobs were answered with 202 and are not in the journal, one of them {min(lost)}")
    if not answered or len(written) > len(answered) + in_flight:
        raise BenchError(f"{len(answered)} jobs were answered, but the journal holds {len(written)}")
