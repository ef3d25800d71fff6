"""A contact sheet of the eight rarities as a model draws them by the table of words: a row each. Chooses no words.

The table, the prompts, the requests and the engine are those of `MINIMON_GENERATION_BACKEND=sdxl`; each row has the
same seeds, so that one column is the same dice in every rarity. `python -m tools.rarities --model models/minimon-tiny`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from minimon_server.creatures.dice import DICE_BYTES
from minimon_server.creatures.hatchery import picture_seed
from minimon_server.creatures.naming import LocalNames
from minimon_server.creatures.prompts import load_prompts
from minimon_server.creatures.rarity import RARITIES
from minimon_server.engines.matte import cut_out
from minimon_server.engines.messages import DrawnPicture, NoCutout
from minimon_server.environment import read_settings
from minimon_server.errors import StartupError
from minimon_server.jobs.creature_drawing import open_creatures, queue_of
from minimon_server.jobs.equipment import find_drawing
from minimon_server.logs import Lines, LogSink
from tools.artist.creature import stream
from tools.artist.png import encode, thrifty

HOME: Final = Path(__file__).resolve().parent.parent
SEEDS: Final = 4
PAPER: Final = 64  # the grey behind creatures that are cut out: half way to black, so that bright fringes show


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.rarities", description="Draw a row of creatures a rarity.")
    parser.add_argument("--model", default="models/minimon-tiny", help="what SDXL_TURBO_MODEL may hold")
    parser.add_argument("--words", type=Path, default=HOME / "minimon" / "prompts.toml", help="the table of words")
    parser.add_argument("--language", choices=("en", "fr"), default="en", help="which half of the table")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many creatures a row (default {SEEDS})")
    parser.add_argument("--first", type=int, default=1, help="the first of the seeds (default 1)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side of each creature (default 128)")
    parser.add_argument("--steps", type=int, help="SDXL_STEPS; without it the model's own")
    parser.add_argument("--alone", action="store_true", help="cut out of their backgrounds, as background=transparent")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the PNG file to write")
    return parser


def draw_sheet(options: argparse.Namespace) -> NDArray[np.uint8]:
    """Return the sheet, a row for each rarity from F to S+, height x width x red, green, blue from 0 to 255."""
    environ = {
        "MINIMON_GENERATION_BACKEND": "sdxl",
        "SDXL_TURBO_MODEL": options.model,
        "SDXL_WIDTH": str(options.size),
        "SDXL_HEIGHT": str(options.size),
        "MINIMON_PROMPTS_PATH": str(options.words),
        "MINIMON_PROMPT_LANGUAGE": options.language,
        "MINIMON_DEVICE": "cpu",
    } | ({"SDXL_STEPS": str(options.steps)} if options.steps else {})
    settings = read_settings(environ, home=HOME, here=Path.cwd())
    sink = LogSink(os.dup(sys.stderr.fileno()))
    log = Lines(sink, level="warning", as_json=False).logger()
    drawing = find_drawing(settings, log)
    _, painter = open_creatures(settings, drawing, queue_of(settings, log), LocalNames(), log)
    prompts, engine = load_prompts(settings.prompts_path, settings.prompt_language), drawing.make_engine()
    rows = []
    for rarity in RARITIES:
        row = []
        for seed in range(options.first, options.first + options.seeds):
            dice = stream(seed, "rarities").randbytes(DICE_BYTES)  # the same in every row: only the rarity differs
            request = painter.request(prompts.of(dice, rarity, alone=options.alone), picture_seed(dice))
            picture = engine.draw(request, lambda _: True).pictures[0]
            row.append(_alone(picture) if options.alone else _whole(picture))
        rows.append(np.concatenate(row, axis=1))
    engine.close()
    sink.close()
    return np.concatenate(rows)


def _whole(picture: DrawnPicture) -> NDArray[np.uint8]:
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)


def _alone(picture: DrawnPicture) -> NDArray[np.uint8]:
    """Return a creature on grey; one that cannot be cut out is an empty field, and told."""
    try:
        cut = cut_out(picture).astype(np.float32)
    except NoCutout as reason:
        print(f"seed {picture.seed}: {reason}", file=sys.stderr)
        cut = np.zeros((picture.height, picture.width, 4), np.float32)
    alpha = cut[..., 3:] / 255
    return np.rint(cut[..., :3] * alpha + PAPER * (1 - alpha)).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw one sheet and return the exit status."""
    options = make_parser().parse_args(arguments)
    try:
        sheet = draw_sheet(options)
    except StartupError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return error.exit_status
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(encode(thrifty(sheet)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
