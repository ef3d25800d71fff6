"""What is told where memory ran out: to clients, and which settings would let a request fit. Changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch

from minimon_server.engines.model_folders import NETWORKS
from minimon_server.engines.quantised_layers import PAYING, quantised_of
from minimon_server.engines.quantised_weights import held_bytes, is_quantised
from minimon_server.logs import Logger

MEBI: Final = 2**20
SIDE_STEP: Final = 64  # pixels
FEW_BITS: Final = "SDXL_QUANTIZE_LORAS=1"  # without it, layers that LoRAs change are held in full
NOTHING_KNOWN: Final[Mapping[str, int]] = MappingProxyType({})


def advise(
    log: Logger,
    pipeline: Any,
    parts: tuple[str, ...],
    size: tuple[int, int] | None,
    *,
    needed: int,
    free: int | None,
    offloaded: bool,
    on_card: bool,
    known: Mapping[str, int] = NOTHING_KNOWN,
    has_loras: bool = False,
) -> None:
    """Log what a stage needs at the least, what is free, and the settings with which it would fit, in bytes freed.

    `parts` are the networks that the stage computes with, `size` is the picture in pixels, None where the stage takes
    as much for any; `known` are bytes by a setting, known for this request. Where memory ran out though the least would
    have fitted, every setting that frees some is told.
    """
    where = {"offloaded": offloaded, "on_card": on_card, "has_loras": has_loras}
    freed = {} if pipeline is None else {**savings(pipeline, parts, **where), **known}
    lacking = max(0, needed - (free or 0))
    fitting = [f"{name} (frees {bytes_ // MEBI} MiB)" for name, bytes_ in freed.items() if bytes_ >= max(1, lacking)]
    if size is not None and lacking and free:
        width, height = smaller(size, free / needed)
        if width * height < size[0] * size[1]:
            fitting += [f"SDXL_WIDTH={width} SDXL_HEIGHT={height}, or that width and height in the request"]
    told = {"needed_mib": needed // MEBI, "free_mib": None if free is None else free // MEBI}
    log.error("out of memory: settings that would fit", settings=fitting or ["a device with more memory"], **told)


def savings(
    pipeline: Any, parts: tuple[str, ...], *, offloaded: bool, on_card: bool, has_loras: bool = False
) -> dict[str, int]:
    """Return the bytes that each setting would free on the device, by the setting."""
    found = {}
    plain = [
        module.weight
        for name, module in pipeline.unet.named_modules()
        if isinstance(module, torch.nn.Linear) and PAYING.search(name) and not is_quantised(module.weight)
    ]
    if plain:
        # A byte for each number, whatever it takes now.
        name = f"SDXL_QUANTIZATION=int8 {FEW_BITS}" if has_loras else "SDXL_QUANTIZATION=int8"
        found[name] = sum(weight.nbytes - weight.numel() for weight in plain)
    quantised = quantised_of(pipeline.unet)
    if quantised is not None and quantised.in_full:
        found = {FEW_BITS: quantised.bytes_in_full}
    if on_card and not offloaded:
        idle = [getattr(pipeline, part) for part in NETWORKS if part not in parts]
        found["SDXL_ENABLE_CPU_OFFLOAD=1"] = sum(held_bytes(one) for part in idle for one in part.parameters())
    return found


def ran_out(stage: str, problem: str, asked: str, tried: Sequence[str]) -> str:
    """Return what a client is told when nothing that was tried let a stage end."""
    what = "CUDA out of memory" if "CUDA" in problem else "Out of memory"
    return f"{what}: {asked} need more than there is here; stage: {stage}; tried: {', '.join(tried)}."


def too_little(stage: str, needed: int, free: int, asked: str, tried: Sequence[str]) -> str:
    """Return the same for a stage that was not begun; `needed` and `free` are bytes."""
    least = f"Too little memory: {stage} needs at least {needed // MEBI} MiB for {asked}"
    return f"{least}, and {free // MEBI} MiB are free; tried: {', '.join(tried)}."


def smaller(size: tuple[int, int], share: float) -> tuple[int, int]:
    """Return the largest picture of the same shape with at most this share of the pixels: what it takes is as many."""
    scale = math.sqrt(share)
    width, height = (max(SIDE_STEP, int(side * scale) // SIDE_STEP * SIDE_STEP) for side in size)
    return width, height
