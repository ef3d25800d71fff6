"""Measures jobs: what the server costs beyond raw calls, how fast jobs become durable, memory, `/health` meanwhile.

Beside the same pipeline called in a loop, LitServe with the obvious program, and what the disk syncs.
"""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from dataclasses import dataclass

from bench import disk, job_contenders, job_health, job_memory, job_race, job_submits, job_syncs, load
from bench.cores import pinned
from bench.errors import BenchError, ToolMissingError
from bench.job_client import LitServe, Ours
from bench.job_contenders import LITSERVE, LOAD_SECONDS, OURS, RAW, Places
from bench.job_health import Answered
from bench.job_memory import Grown
from bench.job_race import AT_ONCE, Racer, Seen
from bench.job_submits import Submitted
from bench.job_syncs import Syncs
from bench.job_wish import MODEL, SIDE, STEPS
from bench.memory import GROWTH_KIB
from bench.plan import Stage
from bench.processes import running
from bench.report import Figure, Part, Row, Target

DISK = "append + fdatasync, one by one"
COLUMNS = (OURS, RAW, LITSERVE, DISK)
NEEDED = ("torch", "diffusers", "transformers", "PIL")
BEYOND_MS, BEYOND_SHARE = Target(5, at_most=True), Target(3, at_most=True)
A_SECOND, HEALTH_MS = Target(1000), Target(20, at_most=True)
TRACED_JOBS = 5
DIFFUSERS_SERVER = (
    "diffusers' own example server (examples/server) is no peer here: it draws with StableDiffusion3Pipeline alone, "
    "and does not start without CUDA or MPS."
)

Cells = dict[str, Figure | str]


@dataclass(frozen=True)
class Raced:
    """What the race came to, the syncs of a job of ours, and `/health` of the same server."""

    seen: Seen
    syncs: Syncs | None
    drawing: Answered
    resting: Answered


def measure(stage: Stage) -> Part:
    """Race, submit, and watch the memory."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    try:
        if missing:
            raise ToolMissingError(f"{', '.join(missing)} missing; install with: pip install -r requirements.txt")
        load.find()
        where = disk.file_system(stage.folder.resolve())
    except (ToolMissingError, BenchError) as why:
        return Part(skipped=(f"jobs: {why}",), contenders=COLUMNS)
    skipped: list[str] = []
    raced = _race(stage, skipped)
    submitted, grown = job_submits.measure(stage), job_memory.measure(stage)
    rows = (*_race_rows(raced), *_submit_rows(submitted), *_memory_rows(grown), *_health_rows(raced))
    return Part(rows, _notes(stage, raced, submitted, grown, where), tuple(skipped), COLUMNS)


def _race(stage: Stage, skipped: list[str]) -> Raced:
    models, places = job_contenders.build_model(stage), Places(stage.folder / "drawing")
    with ExitStack() as stack:
        raw = stack.enter_context(job_contenders.raw_calls(stage, models / MODEL))
        program = job_contenders.ours(stage, places, models)
        server = stack.enter_context(running(program, job_contenders.listening, stage.cores.server))
        racers = [Racer(OURS, server.pid, [Ours(program.port) for _ in range(AT_ONCE)])]
        if importlib.util.find_spec("litserve") is None:
            skipped.append("jobs: LitServe is missing; install it with: pip install -r bench/requirements.txt")
        else:
            other = job_contenders.litserve(stage, models / MODEL)
            peer = stack.enter_context(
                running(other, job_contenders.listening, stage.cores.server, limit_seconds=LOAD_SECONDS)
            )
            racers.append(Racer(LITSERVE, peer.pid, [LitServe(other.port) for _ in range(AT_ONCE)]))
        for client in (client for racer in racers for client in racer.clients):
            stack.callback(client.close)
        with pinned(stage.cores.load):
            seen = job_race.run(stage, raw, racers)
            drawing, resting = job_health.measure(stage, program.port)
            syncs = _syncs(stage, server.pid, places, racers[0], skipped)
    return Raced(seen, syncs, drawing, resting)


def _syncs(stage: Stage, pid: int, places: Places, ours: Racer, skipped: list[str]) -> Syncs | None:
    try:
        trace, client = stage.folder / "trace", ours.clients[0]
        client.renew()
        return job_syncs.count(pid, trace, places.journal.resolve(), lambda: client.draw(3), TRACED_JOBS)
    except ToolMissingError as why:
        skipped.append(f"jobs, syncs a job: {why}")
        return None


def _race_rows(raced: Raced) -> tuple[Row, ...]:
    seen, names = raced.seen, tuple(raced.seen.times)
    doubtful = frozenset(names) if seen.disturbed else frozenset[str]()
    goals = {LITSERVE: 1.0}

    def cells(pick: str, digits: int) -> Cells:
        return {name: Figure.of(getattr(seen.times[name], pick), digits) for name in names}

    sync = Figure.of((one.p50_ms for one in seen.disk), 2)
    beyond: Cells = {name: Figure.of(seen.beyond_raw_ms(name), 1) for name in names if name != RAW}
    share: Cells = {
        name: Figure.of(
            (100 * ms / raw for ms, raw in zip(seen.beyond_raw_ms(name), seen.times[RAW].median_ms, strict=True)), 1
        )
        for name in names
        if name != RAW
    }
    return (
        Row("1 client, jobs a second", cells("per_second", 2), compared=True, goals=goals, doubtful=doubtful),
        Row("1 client, a job, p50, ms", {**cells("median_ms", 1), DISK: sync}, compared=False),
        Row("1 client, a job beyond a raw call, ms", beyond),
        *_beyond_syncs(raced, sync, doubtful),
        Row("1 client, a job beyond a raw call, % of it", share, doubtful=doubtful, target=BEYOND_SHARE),
        Row(f"{AT_ONCE} at once, jobs a second", cells("queue_per_second", 2), True, goals, doubtful),
        Row("processor time a job, ms", cells("processor_ms", 1), compared=True),
        Row("other programs meanwhile, % of a core", {OURS: Figure.of((100 * one for one in seen.foreign), 0)}),
    )


def _beyond_syncs(raced: Raced, sync: Figure, doubtful: frozenset[str]) -> tuple[Row, ...]:
    """Show the syncs, and what is left of the overhead without those of the journal."""
    syncs = raced.syncs
    if syncs is None:
        return ()
    ms = raced.seen.beyond_raw_ms(OURS)
    left = Figure.of(
        (one - syncs.journal * other.p50_ms for one, other in zip(ms, raced.seen.disk, strict=True)), sync.digits
    )
    return (
        Row("syncs a job, of the journal / of pictures", {OURS: f"{syncs.journal:.1f} / {syncs.pictures:.1f}"}),
        Row("1 client, that less the journal's syncs, ms", {OURS: left}, doubtful=doubtful, target=BEYOND_MS),
    )


def _submit_rows(submitted: Submitted) -> tuple[Row, ...]:
    rounds, disks, what = submitted.rounds, submitted.disk, f"{job_submits.CONNECTIONS} connections, submitted jobs"
    doubtful = frozenset({OURS}) if submitted.doubtful else frozenset[str]()
    rate: Cells = {
        OURS: Figure.of(one.per_second for one in rounds),
        DISK: Figure.of(one.per_second for one in disks),
    }
    p50: Cells = {OURS: Figure.of((one.p50_ms for one in rounds), 1), DISK: Figure.of((one.p50_ms for one in disks), 2)}
    p99: Cells = {OURS: Figure.of((one.p99_ms for one in rounds), 1), DISK: Figure.of((one.p99_ms for one in disks), 2)}
    return (
        Row(f"{what}, durable a second", rate, compared=True, doubtful=doubtful, target=A_SECOND),
        Row(f"{what}, p50, ms", p50),
        Row(f"{what}, p99, ms", p99),
        Row(f"{what}, server's processor time, ms", {OURS: Figure.of(submitted.processor_ms, 3)}),
    )


def _memory_rows(grown: Grown) -> tuple[Row, ...]:
    rss, pss = grown.late.rss_kib - grown.early.rss_kib, grown.late.pss_kib - grown.early.pss_kib
    flag = f" **GROWTH**, over {GROWTH_KIB:,}" if rss > GROWTH_KIB else ""
    return (
        *(
            Row(f"memory after {jobs:,} jobs, KiB", {OURS: f"{memory.rss_kib:,} / {memory.pss_kib:,}"})
            for jobs, memory in ((grown.early_jobs, grown.early), (grown.jobs, grown.late))
        ),
        Row("memory growth between the two, KiB", {OURS: f"{rss:+,} / {pss:+,}{flag}"}),
    )


def _health_rows(raced: Raced) -> tuple[Row, ...]:
    doubtful = frozenset({OURS}) if raced.seen.disturbed else frozenset[str]()
    drawing, resting = raced.drawing, raced.resting
    at_rest: Cells = {OURS: f"{resting.p50:.2f} / {resting.p99:.2f}"}
    p99 = Figure.of([drawing.p99], 1)
    return (
        Row("/health at rest, p50 / p99, ms", at_rest),
        Row("/health while drawing, p50, ms", {OURS: Figure.of([drawing.p50], 2)}),
        Row("/health while drawing, p99, ms", {OURS: p99}, doubtful=doubtful, target=HEALTH_MS),
    )


def _notes(stage: Stage, raced: Raced, submitted: Submitted, grown: Grown, where: str) -> tuple[str, ...]:
    plan, seen = stage.plan, raced.seen
    polled = f"{len(raced.drawing.ms):,} and {len(raced.resting.ms):,}"
    disturbed = ("The race was disturbed by other programs: repeat it on a quiet machine.",) if seen.disturbed else ()
    return (
        f"jobs: a small SDXL pipeline of the real classes, random weights, {SIDE}x{SIDE} pixels, {STEPS} steps; all on "
        "one core with one thread of torch, the clients on the other; plain HTTP, connections kept within a round; "
        f"{plan.job_rounds} rounds in turns, {plan.jobs_a_round} jobs one by one and {AT_ONCE} at once for each, "
        f"{seen.jobs} jobs after some that do not count; the pixels of all were compared before. Files on {where}.",
        f'"{RAW}": the pipeline called in a process of its own, each picture saved as PNG into memory; '
        f'"{LITSERVE}": one worker, as it is by default; "{DISK}": {job_race.PAGES_A_COMMIT} pages of SQLite at once.',
        "Ours: `POST /generate`, then `GET /image/{id}?wait=30`; every change of state and every picture is on the "
        f"disk, and previews are made. Its syncs: counted by strace, over {TRACED_JOBS} jobs that are not timed.",
        DIFFUSERS_SERVER,
        f"Submitted jobs: wrk, a new prompt in each request, {plan.submit_rounds} rounds of {plan.round_seconds} s "
        f"after one of {plan.warm_up_seconds} s, while the engine waits within its first job; {submitted.answered:,} "
        f"answers, every one of them 202 and its id in the journal, which held {submitted.written:,}.",
        f"Memory: RSS / PSS of a server with the tests' crayon for an engine, {job_memory.HISTORY} ended jobs kept; "
        f"{grown.drawn:,} jobs were drawn, as /metrics has it too, the others cancelled, in {grown.seconds:.0f} s.",
        f"/health: one connection, asked again {1000 * job_health.PAUSE_SECONDS:.0f} ms after each answer, {polled} "
        "times; the engine draws on the core that answers, which a machine of more cores need not do.",
        *disturbed,
    )
