"""How the server with a stock of drawn creatures, and the same server with files, are started. Measures nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import client, job_contenders
from bench.contenders import Contender
from bench.job_contenders import THREADS, Places
from bench.job_wish import MODEL, SIDE
from bench.plan import Stage
from bench.ports import free_port
from bench.processes import Program

OURS, STATIC = "ours", "static backend"
EMBEDDED = "minimon-tiny"
EMBEDDED_SIDE = 128
EACH = 8  # MINIMON_STOCK counts per rarity, of which there are so many


@dataclass(frozen=True)
class Drawer:
    """A model that draws creatures: its folder, the side of its pictures, its steps (None: its own), its name."""

    folder: Path
    side: int
    steps: int | None
    told: str

    def settings(self) -> dict[str, str]:
        """Return the settings by which it draws creatures."""
        side, steps = str(self.side), {} if self.steps is None else {"SDXL_STEPS": str(self.steps)}
        return {"SDXL_TURBO_MODEL": str(self.folder), "SDXL_WIDTH": side, "SDXL_HEIGHT": side} | steps


def drawer(stage: Stage) -> Drawer:
    """Return the embedded model where it lies in `models/`, else a small pipeline of random weights that is built."""
    embedded = stage.root / "models" / EMBEDDED
    if (embedded / "model_index.json").is_file():
        return Drawer(embedded, EMBEDDED_SIDE, None, f"the embedded model ({EMBEDDED}), its own steps")
    built = job_contenders.build_model(stage) / MODEL
    return Drawer(built, SIDE, 1, "a small SDXL pipeline of the real classes, random weights, 1 step")


def shelf(hits: int) -> int:
    """Return the least MINIMON_STOCK that keeps twice as many creatures as a round takes, so that no shelf is empty."""
    return -(-2 * hits // EACH)


def ours(stage: Stage, drawing: Drawer) -> Contender:
    """The server with a stock of one rarity, drawing with this model on one thread."""
    extra = {
        "MINIMON_GENERATION_BACKEND": "sdxl",
        "MINIMON_MODELS_DIR": str(drawing.folder.parent),
        "MINIMON_STOCK": str(shelf(stage.plan.stock_hits)),
        **drawing.settings(),
    }
    return _server(stage, OURS, "drawn", extra)


def static(stage: Stage, pictures: Sequence[bytes]) -> Contender:
    """The server with the files of these pictures, each as often as the others."""
    folder = stage.folder / "pictures"
    folder.mkdir()
    for index, png in enumerate(pictures):
        (folder / f"image_{index:02d}.png").write_bytes(png)
    (stage.folder / "no-models").mkdir()
    extra = {
        "MINIMON_GENERATION_BACKEND": "files",
        "MINIMON_MODELS_DIR": str(stage.folder / "no-models"),
        "MINIMON_IMAGES_DIR": str(folder),
        "MINIMON_MAX_INDEX": str(len(pictures) - 1),
        "MINIMON_PICTURE_CHOICE": "any",
    }
    return _server(stage, STATIC, "static", extra)


def _server(stage: Stage, name: str, folder: str, extra: Mapping[str, str]) -> Contender:
    """Return a server as its users start it, with its log of requests on, over HTTPS alone."""
    places, port = Places(stage.folder / folder), free_port()
    places.folder.mkdir()
    env = {
        **places.settings(stage, 0),
        **THREADS,
        "MINIMON_PORT": str(port),
        "MINIMON_DEVICE": "cpu",
        "MINIMON_RARITY_WEIGHTS": "1 0 0 0 0 0 0 0",
        "MINIMON_STOCK_DIR": str(places.folder / "stock"),
        "MINIMON_COMPILE_DIR": str(places.folder / "compiled"),
        **extra,
    }
    log = places.folder / "log"
    program = Program(name, (sys.executable, "gen-server.py"), port, stage.root, log, env)
    return Contender(program, client.ready(client.HEALTH, stage.context), log)
