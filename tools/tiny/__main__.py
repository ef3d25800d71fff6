"""Command line of the workshop: which stage, where, on what. Each stage goes on where it stopped."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STOPPED: Final = 3
STAGES: Final = {
    "draw": "draw the training pictures",
    "autoencoder": "train the autoencoder and finish it",
    "encode": "turn the pictures into latents, and learn the tokenizer",
    "read": "teach the text encoders what captions say",
    "critic": "train what tells mouths and coats from latents, for the UNet to hear of them",
    "train": "train text encoders and UNet",
    "enlarge": "train the autoencoder for pictures of full side",
    "classifier": "train the judge of the evaluation",
    "assemble": "write the model's folder",
    "evaluate": "measure the model and write its card",
    "sheet": "draw the contact sheet",
    "adapt": "train the adapters upon the finished model, and draw their sheet",
}


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.tiny", description="Train the embedded model from nothing; every stage can be stopped."
    )
    told = "; ".join(f"{name}: {text}" for name, text in STAGES.items())
    parser.add_argument("stage", choices=["all", *STAGES], metavar="STAGE", help=f"all, or one of: {told}")
    parser.add_argument("--work", type=Path, default=ROOT / "training", help="folder of everything unfinished")
    parser.add_argument("--output", type=Path, help="folder of the model (default: minimon-tiny in the work folder)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one a core, at most 4)")
    parser.add_argument("--steps", type=int, help="train the UNet up to this step in place of the recipe's last")
    parser.add_argument("--batch", type=int, help="creatures a step of the UNet (a GPU takes 512 as easily as 64)")
    parser.add_argument("--cooldown", type=int, help="let the UNet's rate fall over so many last steps")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a stage, or all; return the exit status: 3 when a stage was told to stop before its end."""
    options = make_parser().parse_args(arguments)
    # Threads that wait shall sleep, for other programs use these cores: the libraries read this once, when imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    from tools.tiny import stages
    from tools.tiny.crew import cores
    from tools.tiny.finishing import NotYet
    from tools.tiny.recipe import Recipe

    recipe = Recipe().with_painter(options.steps, options.cooldown, options.batch)
    workers = 1 if options.device != "cpu" else options.workers or cores()
    shop = stages.Shop(recipe, options.work, options.output or options.work / "minimon-tiny", options.device, workers)
    try:
        for name in STAGES if options.stage == "all" else [options.stage]:
            if not stages.RUN[name](shop):
                print(f"{name} was stopped; the same command goes on from there.", file=sys.stderr)
                return STOPPED
    except NotYet as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
