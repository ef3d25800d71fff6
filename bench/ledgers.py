"""Measures a long ledger: how soon a server that finds one can certify, in how much memory; how fast it is verified.

Each beside its limit in the same run: reading and hashing the same bytes, and checking bare signatures on one core.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench import certified, certify, client, contenders, disk, load, long_ledger, proc
from bench.contenders import ScoreFiles
from bench.cores import pinned
from bench.errors import BenchError
from bench.long_ledger import Written
from bench.plan import Stage
from bench.processes import running
from bench.report import Figure, Part, Row, Target

OURS = contenders.OURS
BARE, VERIFYING = "read + SHA-256", "bare signature checks"
COLUMNS = (OURS, BARE, VERIFYING)
VERIFIER = "minimon_server.scores"
MILLION = 1_000_000
START, MEMORY, RATE = Target(10, at_most=True), Target(150, at_most=True), Target(10_000)
START_LIMIT_SECONDS = 120.0
VERIFY_LIMIT_SECONDS = 600.0
LIMIT_SECONDS = 2.0
BLOCK = 1 << 20


@dataclass(frozen=True)
class Start:
    """One start: seconds until the ledger was open, those of the processor, seconds until the first certification, and
    the most memory it took.
    """

    opened: float
    used: float
    certified: float
    peak_mib: float


def measure(stage: Stage) -> Part:
    """Make a long ledger, start ours with it in turn with bare reading, then verify it offline."""
    files, times = ScoreFiles(stage.folder / "scores"), range(stage.plan.ledger_starts)
    where = disk.file_system(stage.folder.resolve())
    empty = _start(stage, files)
    written = long_ledger.write(files, stage.plan.ledger_records)
    bare, starts = [], []
    for _ in times:
        bare.append(_read(stage, files.ledger))
        starts.append(_start(stage, files))
    checks, skipped = _verify(stage, files, written)
    limit = [_check_signatures(stage, files, written) for _ in times]
    held = f"a ledger of {written.records:,} records"
    judged = written.records >= MILLION
    rows = [
        Row(
            f"{held}: s to open it",
            {OURS: Figure.of((one.opened for one in starts), 2), BARE: Figure.of((all_ for all_, _ in bare), 2)},
            compared=True,
            target=START if judged else None,
        ),
        Row(
            f"{held}: processor's s of these",
            {OURS: Figure.of((one.used for one in starts), 2), BARE: Figure.of((used for _, used in bare), 2)},
            compared=True,
        ),
        Row(f"{held}: s to the first certification", {OURS: Figure.of((one.certified for one in starts), 2)}),
        Row(
            f"{held}: most memory, MiB",
            {OURS: Figure.of((one.peak_mib for one in starts), 0)},
            target=MEMORY if judged else None,
        ),
        Row("an empty ledger: s to open it", {OURS: Figure.of([empty.opened], 2)}),
        Row("an empty ledger: processor's s of these", {OURS: Figure.of([empty.used], 2)}),
        Row("an empty ledger: most memory, MiB", {OURS: Figure.of([empty.peak_mib], 0)}),
    ]
    cells: dict[str, Figure | str] = {VERIFYING: Figure.of(limit)}
    if checks:
        cells[OURS] = Figure.of(checks)
    rows.append(Row(f"{held}: verified offline, records a second", cells, compared=True, target=RATE))
    return Part(tuple(rows), _notes(written, where), skipped, COLUMNS)


def _start(stage: Stage, files: ScoreFiles) -> Start:
    """Start the server; that the ledger is open is read from its log, so that nothing disturbs it meanwhile."""
    ours = contenders.ours(stage, files)
    ours.program.output.unlink(missing_ok=True)
    ready = told(ours.program.output, b'"ledger open"')
    with running(ours.program, ready, stage.cores.server, START_LIMIT_SECONDS) as server:
        used = proc.cpu_seconds(server.pid)
        asked = time.perf_counter()
        answer = client.ask(ours.program.port, certified.PATH, stage.context, body=certified.CLAIM)[0]
        answered = time.perf_counter() - asked
        certified.check(ours.name, answer, certify.load_key(files.key).public_key())
        return Start(server.ready_seconds, used, server.ready_seconds + answered, proc.peak_kib(server.pid) / 1024)


def told(log: Path, words: bytes) -> Callable[[int], bool]:
    """Return a question: has the server written these words into its log?"""

    def answers(_port: int) -> bool:
        return log.exists() and words in log.read_bytes()

    return answers


def _read(stage: Stage, ledger: Path) -> tuple[float, float]:
    """Return the seconds that reading and hashing the file takes on the core of the server, and the processor's."""
    with pinned(stage.cores.server), ledger.open("rb", buffering=0) as file:
        began, used, digest = time.perf_counter(), time.thread_time(), hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
        return time.perf_counter() - began, time.thread_time() - used


def _verify(stage: Stage, files: ScoreFiles, written: Written) -> tuple[list[float], tuple[str, ...]]:
    """Run the offline verifier over the whole ledger; return records a second of its processor time."""
    if not (stage.root / VERIFIER.replace(".", "/") / "__main__.py").exists():
        return [], (f"python -m {VERIFIER} verify is not there",)
    keys = stage.folder / "jwks.json"
    keys.write_bytes(_published_keys(stage, files))
    argv = [sys.executable, "-m", VERIFIER, "verify", "--ledger", str(files.ledger), "--keys", str(keys)]
    rates = []
    for _ in range(stage.plan.ledger_starts):
        with pinned(stage.cores.server):
            before = load.used_by_children()
            done = subprocess.run(
                argv, cwd=stage.root, capture_output=True, text=True, timeout=VERIFY_LIMIT_SECONDS, check=False
            )
            used = load.used_by_children() - before
        if done.returncode != 0:
            raise BenchError(f"the offline verifier ended with status {done.returncode}: {done.stdout}{done.stderr}")
        rates.append(written.records / used)
    return rates, ()


def _published_keys(stage: Stage, files: ScoreFiles) -> bytes:
    ours = contenders.ours(stage, files)
    with running(ours.program, ours.ready, stage.cores.server):
        return client.ask(ours.program.port, "/.well-known/jwks.json", stage.context)[0].body


def _check_signatures(stage: Stage, files: ScoreFiles, written: Written) -> float:
    """Return how many signatures of these records one core checks in a second of its time, and nothing else."""
    key, algorithm = certify.load_key(files.key).public_key(), ec.ECDSA(hashes.SHA256())
    pairs = [
        (base64.b64decode(json.loads(line)["signed"]["signatureB64"]), certified.canonical_of(line))
        for line in written.sample
    ]
    with pinned(stage.cores.server):
        count, began = 0, time.thread_time()
        while (used := time.thread_time() - began) < LIMIT_SECONDS:
            for signature, data in pairs:
                key.verify(signature, data, algorithm)
            count += len(pairs)
        return count / used


def _notes(written: Written, where: str) -> tuple[str, ...]:
    return (
        f"The ledger: {written.records:,} records of ES256, {written.length / 1e6:,.0f} MB on {where}, just written "
        "and so read from memory by all; the goals are for a million records.",
        "To open it: from starting the process to the log line that says so, the server on one core; the first "
        "certification is asked for then, over a new connection. Most memory: VmHWM of the process after that.",
        f'"{BARE}": the same bytes in blocks of 1 MiB, by Python. "{VERIFYING}": of {len(written.sample)} records, '
        f"again and again, by the same library. Verified offline: python -m {VERIFIER} verify --ledger, the process's "
        "start included. Both are by processor time, so a second is one of a core.",
    )
