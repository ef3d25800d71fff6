"""Measures creatures drawn in batches: through the server, beside raw batched calls, and LitServe's batches."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import job_contenders, stock_contenders
from bench.cores import pinned
from bench.errors import BenchError
from bench.job_client import Drawer as Client
from bench.job_client import Line, LitServe, at_once
from bench.job_contenders import LITSERVE, LOAD_SECONDS, OURS, THREADS, Places
from bench.job_wish import BATCH
from bench.plan import Stage
from bench.ports import free_port
from bench.processes import Program, Running, running, standing_still
from bench.report import Figure, Part, Row, Target
from bench.stock_contenders import Drawer
from minimon_server.engines.model_folders import read_model

RAW = "raw batched calls"
CLIENTS = 2 * BATCH
PROMPT = "a red fire minimon with horns, big eyes, night sky"
OF_RAW = Target(90)
TABLE = """schema = 1
[more_steps]
F = 0
E = 0
D = 0
C = 0
B = 0
A = 0
S = 0
"S+" = 0
[en]
prompt = "{words}"
[fr]
prompt = "{words}"
"""


class Creatures:
    """A client that asks for a creature that nobody has seen."""

    def __init__(self, port: int) -> None:
        self._line = Line(port)

    def draw(self, seed: int) -> bytes:
        """Return an answer; the seed is the server's own."""
        answer = self._line.ask("GET", "/v1/generate?rarity=F")
        if b"iVBOR" not in answer:
            raise BenchError(f"answered without a picture: {answer[:200]!r}")
        return answer

    def renew(self) -> None:
        """Connect anew."""
        self._line.renew()

    def close(self) -> None:
        """Close the connection."""
        self._line.close()


def measure(stage: Stage) -> Part:
    """Let all of them draw as many as they can, in turns."""
    if importlib.util.find_spec("diffusers") is None:
        return Part(skipped=("batches: diffusers missing; install with: pip install -r requirements.txt",))
    drawing, skipped = stock_contenders.drawer(stage), list[str]()
    wishes = wishes_of(drawing)
    rates: dict[str, list[float]] = {OURS: [], RAW: []}
    with ExitStack() as stack:
        drawers: dict[str, list[Client]] = {}
        servers: dict[str, Running] = {}
        raw = stack.enter_context(_raw(stage, drawing.folder, wishes))
        program = _ours(stage, drawing)
        served = running(program, _is_warm, stage.cores.server, limit_seconds=LOAD_SECONDS)
        servers[OURS] = stack.enter_context(served)
        drawers[OURS] = [Creatures(program.port) for _ in range(CLIENTS)]
        if importlib.util.find_spec("litserve") is None:
            skipped.append("batches: LitServe is missing; install it with: pip install -r bench/requirements.txt")
        else:
            peer = _litserve(stage, drawing.folder)
            served = running(peer, job_contenders.listening, stage.cores.server, limit_seconds=LOAD_SECONDS)
            servers[LITSERVE] = stack.enter_context(served)
            drawers[LITSERVE] = [LitServe(peer.port, wishes.__getitem__) for _ in range(CLIENTS)]
            rates[LITSERVE] = []
        for client in (one for each in drawers.values() for one in each):
            stack.callback(client.close)
        with pinned(stage.cores.load):
            for number in range(1 + stage.plan.job_rounds):  # the first warms all of them up
                found = _round(raw, drawers, servers)
                for name in rates if number else ():
                    rates[name].append(found[name])
    return Part(_rows(rates), _notes(stage, drawing, wishes[0]), tuple(skipped), tuple(rates))


def _round(
    raw: Callable[[list[int]], float], drawers: dict[str, list[Client]], servers: dict[str, Running]
) -> dict[str, float]:
    """Return pictures a second of each, while the other servers stand still."""
    seeds = list(range(CLIENTS))
    with standing_still(servers.values()):
        found = {RAW: CLIENTS / sum(raw(seeds[at : at + BATCH]) for at in range(0, CLIENTS, BATCH))}
    for name, clients in drawers.items():
        for one in clients:
            one.renew()
        with standing_still(server for other, server in servers.items() if other != name):
            found[name] = CLIENTS / at_once(clients, seeds)
    return found


def _rows(rates: dict[str, list[float]]) -> tuple[Row, ...]:
    share = Figure.of((100 * one / raw for one, raw in zip(rates[OURS], rates[RAW], strict=True)), 1)
    cells: dict[str, Figure | str] = {name: Figure.of(values, 2) for name, values in rates.items()}
    return (
        Row(f"{CLIENTS} players at once, creatures a second", cells, compared=True, goals={LITSERVE: 1.0}),
        Row("of raw batched calls, %", {OURS: share}, target=OF_RAW),
    )


def wishes_of(drawing: Drawer) -> list[dict[str, Any]]:
    """Return what the peers are asked for, by its seed: the words, size, steps and guidance of our creatures."""
    info = read_model(drawing.folder).info
    sizes = {"width": drawing.side, "height": drawing.side}
    wish = {"prompt": PROMPT, **sizes, "steps": info.steps, "guidance_scale": info.guidance_scale}
    return [{**wish, "seed": seed} for seed in range(CLIENTS)]


def _notes(stage: Stage, drawing: Drawer, wish: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"batches: creatures of {drawing.side}x{drawing.side} pixels, drawn by {drawing.told}; {wish['steps']} steps, "
        f"guidance {wish['guidance_scale']:g}; all on one core with one thread of torch, the clients on the other; "
        f"{stage.plan.job_rounds} rounds in turns of {CLIENTS} at once, after one that does not count. Batches of "
        f"{BATCH}; LitServe waits 10 ms for one to fill.",
        "While one draws, the other servers are stopped: LitServe takes a sixth of the core while it waits for work.",
        "Ours: `GET /v1/generate` without a stock, with names, ids and base64 in JSON; the others answer bare PNGs.",
    )


def _ours(stage: Stage, drawing: Drawer) -> Program:
    places = Places(stage.folder / "creatures")
    places.folder.mkdir(parents=True)
    (places.folder / "prompts.toml").write_text(TABLE.replace("{words}", PROMPT))
    port = free_port()
    env = {
        **places.settings(stage, port),
        **THREADS,
        **drawing.settings(),
        "MINIMON_MODELS_DIR": str(drawing.folder.parent),
        "MINIMON_DEVICE": "cpu",
        "MINIMON_GENERATION_BACKEND": "sdxl",
        "MINIMON_PROMPTS_PATH": str(places.folder / "prompts.toml"),
        "MINIMON_CREATURE_BATCH": str(BATCH),
        "MINIMON_STOCK": "0",
        "MINIMON_STOCK_DIR": str(places.folder / "stock"),
        "MINIMON_COMPILE_DIR": str(places.folder / "compiled"),
    }
    return Program(OURS, (sys.executable, "gen-server.py"), port, stage.root, places.folder / "log", env)


def _litserve(stage: Stage, folder: Path) -> Program:
    port = free_port()
    argv = (sys.executable, "-m", "bench.peers.litserve_batches", str(folder), str(port))
    return Program(LITSERVE, argv, port, stage.root, stage.folder / "litserve.log", THREADS)


def _is_warm(port: int) -> bool:
    time.sleep(0.1)  # whoever asks without a pause takes the time that loading needs
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _raw(stage: Stage, folder: Path, wishes: list[dict[str, Any]]) -> Iterator[Callable[[list[int]], float]]:
    """Start the loop, and give what returns the seconds that a batch takes there."""
    argv = (sys.executable, "-m", "bench.peers.batched_pipeline", "serve", str(folder))
    with (stage.folder / "raw.log").open("wb") as errors, pinned(stage.cores.server):
        pipe, env = subprocess.PIPE, {**os.environ, **THREADS}
        process = subprocess.Popen(argv, cwd=stage.root, env=env, stdin=pipe, stdout=pipe, stderr=errors, text=True)
    with process:
        asked, told = process.stdin, process.stdout
        if asked is None or told is None:
            raise BenchError("the loop of raw calls has no pipes")

        def draw(seeds: list[int]) -> float:
            began = time.perf_counter()
            asked.write(json.dumps([wishes[seed] for seed in seeds]) + "\n")
            asked.flush()
            if told.readline() != f"{len(seeds)}\n":
                raise BenchError(f"the loop of raw calls ended with status {process.poll()}")
            return time.perf_counter() - began

        try:
            if told.readline() != "ready\n":
                raise BenchError(f"the loop of raw calls ended with status {process.poll()}")
            yield draw
        finally:
            process.terminate()
