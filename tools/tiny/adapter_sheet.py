"""The sheet of the adapters: the same prompts and seeds without with each, with a stack. Drawn by the engine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from minimon_server.engines.messages import AdapterUse, DrawRequest
from minimon_server.engines.model_folders import ModelFolders, read_model
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.weight_files import ADAPTERS
from minimon_server.logs import Lines, LogSink
from tools.tiny.assemble import GUIDANCE, RESCALE, STEPS
from tools.tiny.sheets import Pixels, tile

PROMPTS: Final = (
    "a red fire minimon with horns, bat wings, big eyes, night sky",
    "a blue water bird minimon, happy eyes, underwater",
    "green grass slime, big eyes, smile, forest background",
    "a yellow electric four-legged minimon with cat ears, meadow",
    "pink round bunny with big eyes, cat mouth, plain background",
    "winged crimson kitty, purple aura, mythic, unicorn horn",
)
SEED: Final = 1
# A row each: the adapters and their weights.
ROWS: Final[Sequence[Sequence[tuple[str, float]]]] = (
    (),
    (("ink", 1.0),),
    (("synthwave", 1.0),),
    (("watercolour", 1.0),),
    (("synthwave", 0.7), ("watercolour", 0.7)),
)


def adapter_sheet(model: Path, adapters: Path) -> Pixels:
    """Return the sheet: a column for each prompt, a row for each stack, of a model's folder and one of adapters."""
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("wb") as nowhere:
        models = Path(folder)
        (models / model.name).symlink_to(model.resolve(), target_is_directory=True)
        (models / ADAPTERS).mkdir()
        for file in adapters.glob("*.safetensors"):
            shutil.copy(file, models / ADAPTERS)
        with closing(LogSink(nowhere.fileno())) as sink:
            log = Lines(sink, level="INFO", as_json=True, secrets=()).logger()
            with closing(SdxlEngine(ModelFolders(models, log), "cpu", log)) as engine:
                side = read_model(models / model.name).native_size or 0
                rows = [_row(engine, model.name, side, stack) for stack in ROWS]
    return tile(np.stack([picture for row in rows for picture in row]), len(PROMPTS))


def _row(engine: SdxlEngine, model: str, side: int, stack: Sequence[tuple[str, float]]) -> list[Pixels]:
    uses = tuple(AdapterUse(name, weight) for name, weight in stack)
    found = []
    for prompt in PROMPTS:
        request = DrawRequest(
            model, prompt, "", (SEED,), side, side, STEPS, GUIDANCE, adapters=uses, guidance_rescale=RESCALE
        )
        drawn = engine.draw(request, lambda _: True).pictures[0]
        found.append(np.frombuffer(drawn.pixels, np.uint8).reshape(drawn.height, drawn.width, -1)[..., :3])
    return found
