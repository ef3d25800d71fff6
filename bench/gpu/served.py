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
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from bench import certificate, client
from bench.disk import quantile
from bench.errors import BenchError
from bench.gpu.arrivals import FAILURES, Client, Clients, Waited, one_by_one, poisson, seeded
from bench.gpu.folders import ADAPTERS, MODELS
from bench.gpu.plan import SERVER, Plan
from bench.gpu.rows import Left, Lines, Row
from bench.ports import free_port
from bench.processes import Program, running
from minimon_server.engines.picture_reading import NotReadable, told_in
from minimon_server.engines.sdxl_side_by_side import WIDEST

Measured = TypeVar("Measured")
Step = tuple[str, Callable[[], None]]
ROOT: Final = Path(__file__).resolve().parents[2]
RATE, WAIT = "https, pictures a second", "https, wait for a picture"
ALONE, STACK, SWITCH = "https, one client", "https, change of stack", "https, warm switch of model"
START_SECONDS: Final = 60.0
WARM_UP: Final = 3  # a shape is compiled at its first call, captured at its second
SEVERAL: Final = WIDEST  # pictures a job, of the jobs for several: no narrower size is ever asked of the UNet but 1
# Lines of the server's log that tell of something that takes minutes, once.
PREPARING: Final = ("compiling the UNet", "a known size is compiled again", "graph captured")
TRIES: Final = 3
LOG_SECONDS: Final = 0.2  # until lines are in the log
BUILD_SECONDS: Final = 1200.0


def measure(plan: Plan, folder: Path, lines: Lines) -> None:
    """Write the models, start the server, measure step by step; tell why where something of that fails."""
    try:
        folder.mkdir(parents=True)
        models = folder / "models"
        _write_models(plan, folder, models)
        with _server(plan, folder, models) as (port, context):
            each(Served(plan, port, context, Quiet(folder / "log", lines), lines).steps, lines)
    except FAILURES as failure:
        lines.tell(Left(SERVER, f"{type(failure).__name__}: {failure}"))


def each(steps: Sequence[Step], lines: Lines) -> None:
    """Take one step after the other; one that fails is told and ends no other."""
    for what, step in steps:
        try:
            step()
        except FAILURES as failure:
            lines.tell(Left(what, f"{type(failure).__name__}: {failure}"))


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


@dataclass
class Served:
    """A server that answers, and what is measured of it, step by step; each warms what it needs, and writes its rows.

    `rate`: pictures a second with one a job, once that is known.
    """

    plan: Plan
    port: int
    context: Any
    quiet: Quiet
    lines: Lines
    rate: float = 0.0
    seeds: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def steps(self) -> list[Step]:
        """The steps, and what they are about: what a goal looks at first, and of that what is compiled the soonest."""
        return [
            (ALONE, self.alone),
            (STACK, self.stack),
            (SWITCH, self.switch),
            (f"{RATE}, 1 a job", partial(self.crowd, 1)),
            (f"{RATE}, {SEVERAL} a job", partial(self.crowd, SEVERAL)),
            (WAIT, self.waits),
        ]

    def alone(self) -> None:
        """Ask for one picture after the other, all alike; tell what the server has chosen, once it has drawn."""
        plain = wish_of(self.plan)
        with closing(Client(self.port, self.context)) as asking:
            self._took(asking, plain, times=WARM_UP)
            self.lines.fact("server", _choices(self.port, self.context))
            alone = self.quiet.measured(ALONE, lambda: self._took(asking, plain, times=self.plan.changes))
        if alone is not None:
            self.lines.tell(_row(ALONE, "one after the other", alone))

    def stack(self) -> None:
        """Ask for one picture after the other, each with another stack."""
        first, second = (wish_of(self.plan, adapters=(one,)) for one in ADAPTERS)
        self._changed(STACK, "adapter for adapter", first, second)  # their files are read and hashed once

    def switch(self) -> None:
        """Ask for one picture after the other, each of another model."""
        self._changed(SWITCH, "files in the page cache", wish_of(self.plan, MODELS[1]), wish_of(self.plan))

    def crowd(self, pictures: int) -> None:
        """Let all clients ask at once, for so many pictures a job, and tell pictures a second."""
        wish = wish_of(self.plan) | {"count": pictures}
        with closing(Client(self.port, self.context)) as asking:
            drawn = [asking.draw(seeded(wish, next(self.seeds))) for _ in range(WARM_UP)]
        beside = f", {_side_by_side(drawn[-1])} side by side" if pictures > 1 else ""
        mode = f"{self.plan.clients} clients at once, {pictures} a job{beside}"
        with closing(Clients(self.port, self.context, self.plan.clients, wish)) as clients:
            crowd = self.quiet.measured(
                f"{RATE}, {mode}", lambda: clients.crowd(self.plan.load_seconds, self.plan.most_jobs)
            )
        if crowd is None:
            return
        _refuse_failures(crowd)
        per_second = pictures * crowd.per_second
        if pictures == 1:
            self.rate = per_second
        self.lines.tell(Row(RATE, mode, 1, *_thrice(per_second), len(crowd.seconds), "1/s"))

    def waits(self) -> None:
        """Let strangers arrive at shares of what the server did with one picture a job."""
        plan = self.plan
        if not self.rate:
            raise BenchError("how many pictures a second there are is not known")
        with closing(Clients(self.port, self.context, plan.clients, wish_of(plan))) as clients:
            for share in plan.load_shares:
                offsets = poisson(share * self.rate, plan.load_seconds, plan.most_jobs, random.Random(1))
                mode = f"Poisson, {share:.0%} of that rate"
                waited = self.quiet.measured(f"{WAIT}, {mode}", partial(clients.strangers, offsets))
                if waited is None:
                    continue
                _refuse_failures(waited)
                ms = sorted(1000 * one for one in waited.seconds)
                for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                    self.lines.tell(Row(f"{WAIT}, {name}", mode, 1, *_thrice(quantile(ms, part)), len(ms)))

    def _changed(self, part: str, mode: str, *wishes: dict[str, Any]) -> None:
        """Tell what a change costs: the median of jobs that each need another wish, less that of the last one's."""
        times = self.plan.changes
        with closing(Client(self.port, self.context)) as asking:
            self._took(asking, *wishes, times=WARM_UP)
            changed = self.quiet.measured(
                part, lambda: (self._took(asking, *wishes, times=times), self._took(asking, wishes[-1], times=times))
            )
        if changed is not None:
            self.lines.tell(_beyond(part, mode, *changed))

    def _took(self, asking: Client, *wishes: dict[str, Any], times: int) -> list[float]:
        told = [seeded(wish, next(self.seeds)) for _ in range(times) for wish in wishes]
        return [1000 * one for one in one_by_one(asking, told)]


def _choices(port: int, context: Any) -> dict[str, str]:
    """Return what the server chose to draw faster, and why, as `/ready` tells it."""
    told = json.loads(client.ask(port, "/ready", context)[0].body)["checks"]["acceleration"]
    return {name: f"{one['chosen']}: {one['reason']}" for name, one in told.items() if isinstance(one, dict)}


def _side_by_side(file: bytes) -> int:
    """Return with how many, itself among them, a picture was drawn, as its file tells it."""
    try:
        return int(told_in(file).get("batch", 1))
    except NotReadable as error:
        raise BenchError(f"a picture does not tell what made it: {error}") from None


def _refuse_failures(waited: Waited) -> None:
    if waited.failures or not waited.seconds:
        first = waited.failures[0] if waited.failures else "nobody got a picture"
        raise BenchError(f"{len(waited.failures)} of the jobs failed: {first}")


def _beyond(part: str, mode: str, changed: Sequence[float], kept: Sequence[float]) -> Row:
    usual = statistics.median(kept)
    return _row(part, mode, [one - usual for one in changed])


def _row(part: str, mode: str, ms: Sequence[float]) -> Row:
    return Row(part, mode, 1, statistics.median(ms), min(ms), max(ms), len(ms))


def _thrice(value: float) -> tuple[float, float, float]:
    return value, value, value
