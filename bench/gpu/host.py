"""What is left when the GPU has done: the copy to main memory, and the PNG files. Draws nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch

from bench.gpu.modes import Mode
from bench.gpu.plan import HOST, Plan
from bench.gpu.rows import Lines
from bench.gpu.stages import attempt
from bench.gpu.timing import measure
from minimon_server.engines import png
from minimon_server.engines.sdxl_landing import Landing, packed
from minimon_server.engines.sdxl_loading import Place

COPY, ENCODE = "copy", "encode"
MODE = Mode(HOST, None, compiled=False, graphs=False)


def measure_host(plan: Plan, place: Place, lines: Lines) -> None:
    """Time the copy of B pictures, and the engine's own PNG of B pictures on one thread."""
    picture = photograph(plan.of.turbo_side)
    for batch in plan.batches:
        there = packed(picture.expand(batch, -1, -1, -1)).to(place.device)
        pack = partial(files, Landing(there).pixels())
        attempt(COPY, MODE, batch, lines, partial(measure, partial(_land, there), place.device, plan.effort))
        attempt(ENCODE, MODE, batch, lines, partial(measure, pack, torch.device("cpu"), plan.effort))


def _land(there: torch.Tensor) -> list[Any]:
    return Landing(there).pixels()


def files(pictures: Iterable[Any]) -> list[bytes]:
    """Return the engine's PNG file of each picture, height x width x 3 bytes."""
    return [png.encode(one) for one in pictures]


def photograph(side: int, seed: int = 0) -> torch.Tensor:
    """Return 1 x 3 x side x side numbers from -1 to 1 that pack as a photograph does: large shapes, few fine ones.

    What random weights draw is noise, which no file makes smaller: its time would mislead. Each octave is half as
    strong as the one before, as in natural pictures (Field 1987: amplitudes fall as 1 / frequency).
    """
    numbers = torch.Generator().manual_seed(seed)
    picture, cells, strength = torch.zeros(1, 3, side, side), 4, 1.0
    while cells < side:
        noise = torch.randn(1, 3, cells, cells, generator=numbers)
        picture += strength * torch.nn.functional.interpolate(noise, (side, side), mode="bicubic", antialias=False)
        cells, strength = 2 * cells, strength / 2
    return (picture / picture.abs().max()).clamp(-1, 1)
