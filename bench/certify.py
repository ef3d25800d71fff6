"""Measures /v1/certify-score over TLS 1.3: durable certifications a second, and how long one takes alone.

Beside a plain FastAPI program that signs with the same key and syncs each line on the same disk, and beside two limits
taken in the same rounds: what the disk can append and sync, and what one core can sign.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench import certified, client, contenders, disk, load, race
from bench.contenders import Contender, ScoreFiles
from bench.cores import pinned
from bench.disk import Appended
from bench.errors import BenchError, ToolMissingError
from bench.load import Shape
from bench.plan import Stage
from bench.processes import running
from bench.race import Entry, Result, Round
from bench.report import Figure, Part, Row, Target

OURS, PLAIN = contenders.OURS, contenders.PLAIN
DISK, SIGNING = "append + fdatasync, one by one", "signing alone"
COLUMNS = (OURS, PLAIN, DISK, SIGNING)
SCRIPT = Path(__file__).with_name("certify.lua")
MANY, ONE = Shape(certified.PATH, 64, SCRIPT), Shape(certified.PATH, 1, SCRIPT)
RATE = "certifications a second"
GOAL = 2.5
A_SECOND, P99, AFTER_SYNC = Target(3000, 4000), Target(50, 30, at_most=True), Target(3, at_most=True)
LIMIT_SECONDS = 1.0
SIGNATURES_AT_ONCE = 50
SETTLE_SECONDS = 0.5
SAMPLES = 20

Results = dict[str, Result]


@dataclass
class Limits:
    """What disk and processor can do with one record, measured again in every round."""

    file: Path
    record: bytes
    message: bytes
    key: ec.EllipticCurvePrivateKey
    core: int
    disk: list[Appended] = field(default_factory=list)
    signing: list[float] = field(default_factory=list)
    signing_ms: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Append and sync for a while, then sign for a while."""
        with pinned(self.core):
            self.disk.append(disk.append(self.file, self.record, LIMIT_SECONDS))
            self._sign()

    def _sign(self) -> None:
        algorithm, count, began, used = ec.ECDSA(hashes.SHA256()), 0, time.perf_counter(), time.thread_time()
        while (passed := time.perf_counter() - began) < LIMIT_SECONDS:
            for _ in range(SIGNATURES_AT_ONCE):
                self.key.sign(self.message, algorithm)
            count += SIGNATURES_AT_ONCE
        self.signing.append(count / passed)
        self.signing_ms.append(1000 * (time.thread_time() - used) / count)


@dataclass(frozen=True)
class Outcome:
    """What came of it: both races, the limits beside each, and what ours counted in the race of many connections."""

    many: Results
    one: Results
    limits: Limits
    limits_of_one: Limits
    records_a_sync: float


def measure(stage: Stage) -> Part:
    """Load both servers in turn, over many connections and then over one; check what they wrote."""
    try:
        load.find()
        where = disk.file_system(stage.folder.resolve())
    except (ToolMissingError, BenchError) as missing:
        return Part(skipped=(f"/v1/certify-score: {missing}",), contenders=COLUMNS)
    files, plain_ledger = ScoreFiles(stage.folder / "scores"), stage.folder / "plain.jsonl"
    with ExitStack() as stack:

        def enter(contender: Contender) -> Entry:
            server = stack.enter_context(running(contender.program, contender.ready, stage.cores.server))
            public = load_key(files.key).public_key()
            answers = client.ask(contender.program.port, certified.PATH, stage.context, SAMPLES, certified.CLAIM)
            for answer in answers:
                certified.check(contender.name, answer, public)
            sizes = tuple(len(answer.body) for answer in answers)
            return Entry(contender, server.pid, sizes, answers[0].cipher, MANY)

        entries = (
            enter(contenders.ours(stage, files)),
            enter(contenders.plain_fastapi_scores(stage, files.key, plain_ledger)),
        )
        outcome = _race(stage, entries, files, (files.ledger, plain_ledger))
    return Part(_rows(outcome) + _check_rows(outcome, entries), _notes(stage, outcome, where, entries), (), COLUMNS)


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the key that the server made at its first start, and with which both sign."""
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BenchError(f"{path} holds no key for ES256")
    return key


def _race(stage: Stage, entries: tuple[Entry, Entry], files: ScoreFiles, ledgers: tuple[Path, Path]) -> Outcome:
    record = certified.last_line(files.ledger)
    message, key = certified.canonical_of(record), load_key(files.key)

    def limits(name: str) -> Limits:
        return Limits(stage.folder / name, record + b"\n", message, key, stage.cores.server)

    many, one = limits("disk"), limits("disk-of-one")
    port = entries[0].contender.program.port
    before = certified.metrics(port, stage.context)
    results = _checked_race(stage, entries, ledgers, many, key)
    after = certified.metrics(port, stage.context)
    if after["minimon_ledger_records"] != certified.count(files.ledger):
        raise BenchError("/metrics tells another number of records than the ledger has")
    syncs = after["minimon_ledger_syncs_total"] - before["minimon_ledger_syncs_total"]
    records = after["minimon_ledger_records"] - before["minimon_ledger_records"]
    alone = tuple(Entry(one.contender, one.pid, one.sizes, one.cipher, ONE) for one in entries)
    results_of_one = _checked_race(stage, alone, ledgers, one, key)
    return Outcome(results, results_of_one, many, one, records / syncs)


def _checked_race(
    stage: Stage, entries: Sequence[Entry], ledgers: tuple[Path, Path], limits: Limits, key: ec.EllipticCurvePrivateKey
) -> Results:
    """Race, then hold every ledger against what was answered: no answer without its record, every sample signed."""
    before = [certified.count(ledger) for ledger in ledgers]
    results = race.run(stage, entries, limits.measure)
    time.sleep(SETTLE_SECONDS)  # what was in flight when the load ended is still written
    for entry, ledger, former in zip(entries, ledgers, before, strict=True):
        name, result = entry.contender.name, results[entry.contender.name]
        certified.check_count(name, certified.count(ledger) - former, result, entry.shape.connections)
        certified.check_sample(name, ledger, key.public_key())
    return results


def _rows(outcome: Outcome) -> tuple[Row, ...]:
    many, limits = outcome.many, outcome.limits
    doubtful = _doubtful(many)

    def row(
        what: str, digits: int, pick: Callable[[Round], float], *beside: Sequence[float], target: Target | None = None
    ) -> Row:
        cells = _figures(many, pick, digits)
        cells.update(
            (name, Figure.of(values, digits)) for name, values in zip((DISK, SIGNING), beside, strict=False) if values
        )
        goals = {PLAIN: GOAL} if what == RATE else {}
        return Row(f"64 connections, {what}", cells, compared=True, goals=goals, doubtful=doubtful, target=target)

    disks, signing = limits.disk, limits.signing
    return (
        row(RATE, 0, lambda one: one.load.per_second, [one.per_second for one in disks], signing, target=A_SECOND),
        row("p50, ms", 2, lambda one: one.load.p50_ms, [one.p50_ms for one in disks]),
        row("p99, ms", 2, lambda one: one.load.p99_ms, [one.p99_ms for one in disks], target=P99),
        row("server's processor time an answer, ms", 3, _processor_ms, [], limits.signing_ms),
        row("bytes an answer", 0, lambda one: one.load.bytes_per_answer),
        Row("64 connections, records a sync", {OURS: f"{outcome.records_a_sync:.1f}", PLAIN: "1", DISK: "1"}),
        *_rows_of_one(outcome),
    )


def _doubtful(results: Results) -> frozenset[str]:
    return frozenset(name for name, result in results.items() if race.doubt(name, result))


def _processor_ms(one: Round) -> float:
    return 1000 * one.server_seconds / one.load.answers


def _figures(results: Results, pick: Callable[[Round], float], digits: int) -> dict[str, Figure | str]:
    return {name: Figure.of((pick(one) for one in result.rounds), digits) for name, result in results.items()}


def _rows_of_one(outcome: Outcome) -> tuple[Row, ...]:
    """Show what one certification costs beyond one sync when nobody else asks."""
    results, disks = outcome.one, outcome.limits_of_one.disk
    rates = _figures(results, lambda one: one.load.per_second, 0)
    medians = _figures(results, lambda one: one.load.p50_ms, 2)
    sync = Figure.of((one.p50_ms for one in disks), 2)
    beyond: dict[str, Figure | str] = {
        name: Figure.of([figure.median - sync.median], 2)
        for name, figure in medians.items()
        if isinstance(figure, Figure)
    }
    doubtful = _doubtful(results)
    return (
        Row("1 connection, a second", {**rates, DISK: Figure.of(one.per_second for one in disks)}, compared=True),
        Row("1 connection, p50, ms", {**medians, DISK: sync}, compared=True),
        Row("1 connection, p50 less that of append + fdatasync, ms", beyond, doubtful=doubtful, target=AFTER_SYNC),
    )


def _check_rows(outcome: Outcome, entries: Sequence[Entry]) -> tuple[Row, ...]:
    busy: dict[str, Figure | str] = {}
    foreign: dict[str, Figure | str] = {}
    for entry in entries:
        name = entry.contender.name
        result = outcome.many[name]
        busy[name] = f"{result.server_busy:.0%} / {result.generator_busy:.0%}"
        foreign[name] = Figure.of((100 * one.foreign for one in result.rounds), 0)
    return (
        Row("64 connections, core busy, server / load generator", busy),
        Row("64 connections, other programs meanwhile, % of a core", foreign),
    )


def _notes(stage: Stage, outcome: Outcome, where: str, entries: Sequence[Entry]) -> tuple[str, ...]:
    plan, races = stage.plan, (outcome.many, outcome.one)
    total = sum(result.answers for results in races for result in results.values())
    ciphers = ", ".join(sorted({entry.cipher for entry in entries}))
    return (
        f"/v1/certify-score: wrk, keep-alive, ES256, a new claim in each request, {plan.rounds} rounds of "
        f"{plan.round_seconds} s for each in turn after one of {plan.warm_up_seconds} s that does not count, over 64 "
        f"connections and then over one; TLS 1.3, {ciphers}; all files on {where}; the servers on one core.",
        f"{total:,} answers, every one of them 200 and with its record in the ledger, which held no others but those "
        f"in flight at the end of a round; {certified.SAMPLE} records of each ledger verified after each race.",
        f'"{PLAIN}": signs with the same key, then appends and syncs each line before its answer, in a thread pool '
        "behind a lock.",
        f'"{DISK}": one writer without a server, a record of ours at a time, {LIMIT_SECONDS:.0f} s in every round; '
        f'"{SIGNING}": the canonical bytes of one score, ES256, on the core of the servers.',
        "What the kernel's own threads do for the disk is counted to nobody, "
        f"and other programs as for /v1/generate: at most {race.FOREIGN_LIMIT:.0%} of a core.",
        *(text for results in races for name, result in results.items() if (text := race.doubt(name, result))),
    )
