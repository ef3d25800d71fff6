"""The server itself, a real process over HTTPS with models of random weights: pictures a second, waits, changes.

Starts it as its users do, and draws nothing itself.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from bench import certificate, client
from bench.disk import quantile
from bench.errors import BenchError
from bench.gpu.arrivals import Client, Clients, Waited, one_by_one, poisson
from bench.gpu.folders import ADAPTERS, MODELS
from bench.gpu.plan import SERVER, Plan
from bench.gpu.rows import Left, Lines, Row
from bench.ports import free_port
from bench.processes import Program, running

Measured = TypeVar("Measured")
ROOT: Final = Path(__file__).resolve().parents[2]
RATE, WAIT = "https, pictures a second", "https, wait for a picture"
ALONE, STACK, SWITCH = "https, one client", "https, change of stack", "https, warm switch of model"
START_SECONDS: Final = 60.0
WARM_UP: Final = 3  # a shape is compiled at its first call, captured at its second
WIDTHS: Final = (8, 4, 2, 1)  # that compiled UNets are asked for, see `CompiledUnet.width`
# Lines of the server's log that tell of something that takes minutes, once.
PREPARING: Final = ("compiling the UNet", "a known size is compiled again", "graph captured")
TRIES: Final = 3
LOG_SECONDS: Final = 0.2  # until lines are in the log
BUILD_SECONDS: Final = 1200.0


def measure(plan: Plan, folder: Path, lines: Lines) -> None:
    """Write the models, start the server, load it; tell why where something of that fails."""
    try:
        folder.mkdir(parents=True)
        models = folder / "models"
        _write_models(plan, folder, models)
        with _server(plan, folder, models) as (port, context):
            quiet = Quiet(folder / "log", lines)
            _warm(plan, port, context)
            lines.fact("server", _choices(port, context))
            _load(plan, port, context, quiet, lines)
            _changes(plan, port, context, quiet, lines)
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
        # The size of the usual picture decides what pays; it is that of creatures, none of which is drawn here.
        "MINIMON_GENERATION_BACKEND": "sdxl",
        "MINIMON_STOCK": "0",
        "MINIMON_STOCK_DIR": str(folder / "stock"),
        "SDXL_TURBO_MODEL": MODELS[0],
        "SDXL_WIDTH": str(plan.of.turbo_side),
        "SDXL_HEIGHT": str(plan.of.turbo_side),
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


class Quiet:
    """Measures while a server prepares nothing, as its log tells it."""

    def __init__(self, log: Path, lines: Lines) -> None:
        self._log, self._lines = log, lines

    def measured(self, what: str, measure: Callable[[], Measured]) -> Measured | None:
        """Return what is measured, again where something was prepared meanwhile; after some tries tell it, and None."""
        disturbed: list[str] = []
        for _ in range(TRIES):
            before = len(self._prepared())
            found = measure()
            time.sleep(LOG_SECONDS)
            disturbed = self._prepared()[before:]
            if not disturbed:
                return found
        why = (
            f"the server compiled or captured something during each of {TRIES} measurements; the last: {disturbed[-1]}"
        )
        self._lines.tell(Left(what, why[:600]))
        return None

    def _prepared(self) -> list[str]:
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return [line for line in lines if any(sign in line for sign in PREPARING)]


def _warm(plan: Plan, port: int, context: Any) -> None:
    """Draw each number of pictures that the server draws side by side, until all of it is compiled and captured."""
    seeds, asking = count(1), Client(port, context)
    try:
        for width in WIDTHS:
            for _ in range(WARM_UP):
                asking.draw({**wish_of(plan), "count": width, "seed": next(seeds)})
    finally:
        asking.close()


def _choices(port: int, context: Any) -> dict[str, str]:
    """Return what the server chose to draw faster, and why, as `/ready` tells it."""
    told = json.loads(client.ask(port, "/ready", context)[0].body)["checks"]["acceleration"]
    return {name: f"{one['chosen']}: {one['reason']}" for name, one in told.items() if isinstance(one, dict)}


def _load(plan: Plan, port: int, context: Any, quiet: Quiet, lines: Lines) -> None:
    """Load the server with all clients at once, then with strangers at shares of what it did."""
    several = WIDTHS[0]
    with closing(Clients(port, context, plan.clients, wish_of(plan) | {"count": several})) as clients:
        _crowd(plan, clients, several, quiet, lines)
    with closing(Clients(port, context, plan.clients, wish_of(plan))) as clients:
        per_second = _crowd(plan, clients, 1, quiet, lines)
        for share in plan.load_shares if per_second else ():
            offsets = poisson(share * per_second, plan.load_seconds, plan.most_jobs, random.Random(1))
            mode = f"Poisson, {share:.0%} of that rate"
            waited = quiet.measured(f"{WAIT}, {mode}", partial(clients.strangers, offsets))
            if waited is None:
                continue
            _refuse_failures(waited)
            ms = sorted(1000 * one for one in waited.seconds)
            for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                lines.tell(Row(f"{WAIT}, {name}", mode, 1, *_thrice(quantile(ms, part)), len(ms)))


def _crowd(plan: Plan, clients: Clients, pictures: int, quiet: Quiet, lines: Lines) -> float:
    """Let all clients ask at once, for so many pictures a job, and tell pictures a second; return them, or 0."""
    mode = f"{plan.clients} clients at once, {pictures} a job"
    crowd = quiet.measured(f"{RATE}, {mode}", lambda: clients.crowd(plan.load_seconds, plan.most_jobs))
    if crowd is None:
        return 0.0
    _refuse_failures(crowd)
    per_second = pictures * crowd.per_second
    lines.tell(Row(RATE, mode, 1, *_thrice(per_second), len(crowd.seconds), "1/s"))
    return per_second


def _refuse_failures(waited: Waited) -> None:
    if waited.failures or not waited.seconds:
        first = waited.failures[0] if waited.failures else "nobody got a picture"
        raise BenchError(f"{len(waited.failures)} of the jobs failed: {first}")


def _changes(plan: Plan, port: int, context: Any, quiet: Quiet, lines: Lines) -> None:
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
        alone = quiet.measured(ALONE, lambda: took(plain, times=plan.changes))
        if alone is not None:
            lines.tell(_row(ALONE, "one after the other", alone))
        took(first, second, times=WARM_UP)  # reads and hashes their files, once
        changed = quiet.measured(
            STACK, lambda: (took(first, second, times=plan.changes), took(second, times=plan.changes))
        )
        if changed is not None:
            lines.tell(_beyond(STACK, "adapter for adapter", *changed))
        took(other, plain, times=WARM_UP)  # the second model's sizes are captured, too
        switched = quiet.measured(
            SWITCH, lambda: (took(other, plain, times=plan.changes), took(plain, times=plan.changes))
        )
        if switched is not None:
            lines.tell(_beyond(SWITCH, "files in the page cache", *switched))
    finally:
        asking.close()


def _beyond(part: str, mode: str, changed: Sequence[float], kept: Sequence[float]) -> Row:
    usual = statistics.median(kept)
    return _row(part, mode, [one - usual for one in changed])


def _row(part: str, mode: str, ms: Sequence[float]) -> Row:
    return Row(part, mode, 1, statistics.median(ms), min(ms), max(ms), len(ms))


def _thrice(value: float) -> tuple[float, float, float]:
    return value, value, value
