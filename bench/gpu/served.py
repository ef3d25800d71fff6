"""The server itself, a real process over HTTPS with models of random weights: pictures a second, waits, changes.

Starts it as its users do, and draws nothing itself.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from bench import certificate, client
from bench.disk import quantile
from bench.errors import BenchError
from bench.gpu.arrivals import Client, Clients, Waited, one_by_one, poisson
from bench.gpu.folders import ADAPTERS, MODELS
from bench.gpu.plan import SERVER, Plan
from bench.gpu.rows import Left, Lines, Row
from bench.ports import free_port
from bench.processes import Program, running

ROOT: Final = Path(__file__).resolve().parents[2]
RATE, WAIT = "https, pictures a second", "https, wait for a picture"
ALONE, STACK, SWITCH = "https, one client", "https, change of stack", "https, warm switch of model"
START_SECONDS: Final = 60.0
WARM_UP: Final = 3
BUILD_SECONDS: Final = 1200.0


def measure(plan: Plan, folder: Path, lines: Lines) -> None:
    """Write the models, start the server, load it; tell why where something of that fails."""
    try:
        folder.mkdir(parents=True)
        models = folder / "models"
        _write_models(plan, folder, models)
        with _server(plan, folder, models) as (port, context):
            _load(plan, port, context, lines)
            _changes(plan, port, context, lines)
    except (BenchError, OSError) as failure:
        lines.tell(Left(SERVER, f"{type(failure).__name__}: {failure}"))


def _write_models(plan: Plan, folder: Path, models: Path) -> None:
    kept = folder / "plan.json"
    plan.write(kept)
    argv = [sys.executable, "-m", "bench.gpu.folders", str(kept), str(models)]
    try:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the models were not written within {BUILD_SECONDS:.0f} s") from None
    if done.returncode:
        raise BenchError(f"the models could not be written: {done.stderr.strip()[-600:]}")


@contextmanager
def _server(plan: Plan, folder: Path, models: Path) -> Iterator[tuple[int, Any]]:
    pair, port = certificate.make(folder), free_port()
    context = client.trust(pair.certificate)
    env = {
        "MINIMON_PORT": str(port),
        "MINIMON_HTTP_PORT": "0",
        "MINIMON_RATE_LIMIT_PER_MIN": "0",
        "MINIMON_SHUTDOWN_GRACE": "1",
        "MINIMON_TLS_CERT_PATH": str(pair.certificate),
        "MINIMON_TLS_KEY_PATH": str(pair.key),
        "MINIMON_SIGNING_KEY_PATH": str(folder / "signing_key.pem"),
        "MINIMON_SIGNING_CERT_PATH": str(folder / "signing_cert.pem"),
        "MINIMON_CHECKPOINT_KEY_PATH": str(folder / "checkpoint_key.pem"),
        "MINIMON_SCORE_LEDGER_PATH": str(folder / "scores.jsonl"),
        "MINIMON_HASHES_PATH": str(folder / "hashes.json"),
        "MINIMON_JOBS_PATH": str(folder / "jobs.sqlite"),
        "MINIMON_OUTPUT_DIR": str(folder / "outputs"),
        "MINIMON_MODELS_DIR": str(models),
        "MINIMON_DEVICE": plan.device,
        # Where the other tasks of the run compiled; TORCHINDUCTOR_CACHE_DIR goes before it, for them as for the server.
        "MINIMON_COMPILE_DIR": str(folder.parent / "compiled"),
    }
    if plan.device == "cpu":
        env |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    program = Program(SERVER, (sys.executable, "gen-server.py"), port, ROOT, folder / "log", env)
    with running(program, client.ready(client.HEALTH, context), limit_seconds=START_SECONDS):
        yield port, context


def wish_of(plan: Plan, model: str = MODELS[0], adapters: Sequence[str] = ()) -> dict[str, Any]:
    """Return the body of `POST /generate` for one of Turbo's pictures, without its seed."""
    return {
        "model": model,
        "prompt": "a small lighthouse under two moons",
        "width": plan.of.turbo_side,
        "height": plan.of.turbo_side,
        "steps": 1,
        "guidance_scale": 0.0,
        "loras": [{"name": name, "weight": 1.0} for name in adapters],
    }


def _load(plan: Plan, port: int, context: Any, lines: Lines) -> None:
    """Load the server with all clients at once, then with strangers at shares of what it did."""
    clients = Clients(port, context, plan.clients, wish_of(plan))
    try:
        clients.crowd(plan.load_seconds / 4, plan.most_jobs)  # loads the model, and does not count
        crowd = clients.crowd(plan.load_seconds, plan.most_jobs)
        _refuse_failures(crowd)
        lines.tell(
            Row(RATE, f"{plan.clients} clients at once", 1, *_thrice(crowd.per_second), len(crowd.seconds), "1/s")
        )
        for share in plan.load_shares:
            rate = share * crowd.per_second
            offsets = poisson(rate, plan.load_seconds, plan.most_jobs, random.Random(1))
            waited = clients.strangers(offsets)
            _refuse_failures(waited)
            mode, ms = f"Poisson, {share:.0%} of that rate", sorted(1000 * one for one in waited.seconds)
            for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                lines.tell(Row(f"{WAIT}, {name}", mode, 1, *_thrice(quantile(ms, part)), len(ms)))
    finally:
        clients.close()


def _refuse_failures(waited: Waited) -> None:
    if waited.failures or not waited.seconds:
        first = waited.failures[0] if waited.failures else "nobody got a picture"
        raise BenchError(f"{len(waited.failures)} of the jobs failed: {first}")


def _changes(plan: Plan, port: int, context: Any, lines: Lines) -> None:
    """Ask for one picture after the other: all alike, each with another stack, each of another model.

    What a change costs is the median of the jobs with one, less that of the same jobs without.
    """
    seeds, asking = count(1), Client(port, context)

    def took(*wishes: dict[str, Any], times: int) -> list[float]:
        told = [{**wish, "seed": next(seeds)} for _ in range(times) for wish in wishes]
        return [1000 * one for one in one_by_one(asking, told)]

    plain, first, second = wish_of(plan), *(wish_of(plan, adapters=(one,)) for one in ADAPTERS)
    other = wish_of(plan, MODELS[1])
    try:
        took(plain, times=WARM_UP)
        lines.tell(_row(ALONE, "one after the other", took(plain, times=plan.changes)))
        took(first, second, times=1)  # reads and hashes their files, once
        changed = took(first, second, times=plan.changes)
        kept = took(second, times=plan.changes)
        lines.tell(_beyond(STACK, "adapter for adapter", changed, kept))
        took(other, plain, times=1)
        switched = took(other, plain, times=plan.changes)
        stayed = took(plain, times=plan.changes)
        lines.tell(_beyond(SWITCH, "files in the page cache", switched, stayed))
    finally:
        asking.close()


def _beyond(part: str, mode: str, changed: Sequence[float], kept: Sequence[float]) -> Row:
    usual = statistics.median(kept)
    return _row(part, mode, [one - usual for one in changed])


def _row(part: str, mode: str, ms: Sequence[float]) -> Row:
    return Row(part, mode, 1, statistics.median(ms), min(ms), max(ms), len(ms))


def _thrice(value: float) -> tuple[float, float, float]:
    return value, value, value
