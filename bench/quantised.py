"""How far pictures of quantised weights are off: PSNR against none over 100 prompts. Says nothing of speed.

    python -m bench.quantised models minimon-tiny

draws each prompt with one seed by an engine for each quantisation that this machine can do, and prints, for each, the
least, the median and the mean PSNR in dB over all prompts. It writes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy

from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Refused, Wishes
from minimon_server.engines.machine_facts import this_machine
from minimon_server.engines.messages import DrawnPicture, DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Lines, Logger, LogSink

WHO: Final = "dragon fox owl crab snail bear lizard jellyfish cat beetle".split()
WHERE: Final = "in a forest,on a beach,under two moons,in the snow,on a mountain".split(",")
HOW: Final = ("red fur", "blue scales")
PROMPTS: Final = [f"a small {who} with {how}, {where}" for who, where, how in itertools.product(WHO, WHERE, HOW)]
QUANTIZATIONS: Final = ("int8", "fp8", "int4", "fp4")


def decibels(ours: DrawnPicture, theirs: DrawnPicture) -> float:
    """Return the peak signal-to-noise ratio of two pictures in dB: 20 log10(255 / root of the mean squared error)."""
    one, other = (numpy.frombuffer(picture.pixels, numpy.uint8).astype(numpy.float64) for picture in (ours, theirs))
    error = float(((one - other) ** 2).mean())
    return math.inf if error == 0 else 20 * math.log10(255 / math.sqrt(error))


def pictures(
    models: ModelFolders, asked: DrawRequest, prompts: Sequence[str], name: str, log: Logger
) -> list[DrawnPicture]:
    """Draw every prompt with one quantisation; raise `Refused` where this machine cannot do it."""
    plan = choose(Wishes(name, by_hand=frozenset({"quantization"})), this_machine("auto"))
    print(f"{name}: {plan.quantization.value}, {plan.quantization.reason.en}", flush=True)
    engine = SdxlEngine(models, "auto", log, plan=plan)
    drawn = [engine.draw(replace(asked, prompt=prompt), lambda _: True).pictures[0] for prompt in prompts]
    engine.close()
    return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="bench.quantised", description="PSNR of quantised weights against none.")
    parser.add_argument("models", type=Path, help="folder of models")
    parser.add_argument("model", help="a model's id")
    parser.add_argument("--prompts", type=Path, help="a file with a prompt a line, instead of the 100 built in")
    parser.add_argument("--first", type=int, help="so many of the prompts only")
    parser.add_argument("--quantizations", nargs="+", default=QUANTIZATIONS, choices=QUANTIZATIONS)
    options = parser.parse_args(arguments)
    prompts = (options.prompts.read_text("utf-8").splitlines() if options.prompts else PROMPTS)[: options.first]
    sink = LogSink(os.open(os.devnull, os.O_WRONLY))
    log = Lines(sink, level="ERROR", as_json=True, secrets=()).logger()
    models = ModelFolders(options.models, log)
    info = models.find(options.model).info
    asked = DrawRequest(info.id, "", "", (7,), info.width, info.height, info.steps, info.guidance_scale)
    plain = pictures(models, asked, prompts, "none", log)
    for name in options.quantizations:
        try:
            other = pictures(models, asked, prompts, name, log)
        except Refused as refused:
            print(f"{name}: refused: {refused}")
            continue
        found = [decibels(one, two) for one, two in zip(plain, other, strict=True)]
        least, median, mean = min(found), statistics.median(found), statistics.fmean(found)
        print(f"{name}: {len(found)} prompts: least {least:.1f}, median {median:.1f}, mean {mean:.1f} dB", flush=True)
    sink.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
