"""Which settings would let a request fit that has run out of memory, and what each would free. Changes nothing."""

from __future__ import annotations

import math
from typing import Any, Final

import torch

from minimon_server.engines.model_folders import NETWORKS
from minimon_server.engines.quantised_layers import PAYING, quantised_of
from minimon_server.engines.quantised_weights import held_bytes, is_quantised
from minimon_server.logs import Logger

MEBI: Final = 2**20
SIDE_STEP: Final = 64  # pixels


def advise(
    log: Logger,
    pipeline: Any,
    parts: tuple[str, ...],
    size: tuple[int, int],
    *,
    needed: int,
    free: int | None,
    offloaded: bool,
    on_card: bool,
) -> None:
    """Log what a stage needs at the least, what is free, and the settings with which it would fit, in bytes freed.

    `parts` are the networks that the stage computes with, `size` is the picture in pixels. Where memory ran out though
    the least would have fitted, every setting that frees some is told.
    """
    freed = {} if pipeline is None else savings(pipeline, parts, offloaded=offloaded, on_card=on_card)
    lacking = max(0, needed - (free or 0))
    fitting = [f"{name} (frees {bytes_ // MEBI} MiB)" for name, bytes_ in freed.items() if bytes_ >= max(1, lacking)]
    if lacking and free:
        width, height = smaller(size, free / needed)
        fitting += [f"SDXL_WIDTH={width} SDXL_HEIGHT={height}, or that width and height in the request"]
    told = {"needed_mib": needed // MEBI, "free_mib": None if free is None else free // MEBI}
    log.error("out of memory: settings that would fit", settings=fitting or ["a device with more memory"], **told)


def savings(pipeline: Any, parts: tuple[str, ...], *, offloaded: bool, on_card: bool) -> dict[str, int]:
    """Return the bytes that each setting would free on the device, by the setting."""
    found = {}
    plain = [
        module.weight
        for name, module in pipeline.unet.named_modules()
        if isinstance(module, torch.nn.Linear) and PAYING.search(name) and not is_quantised(module.weight)
    ]
    if plain:
        # A byte for each number, whatever it takes now.
        found["SDXL_QUANTIZATION=int8"] = sum(weight.nbytes - weight.numel() for weight in plain)
    quantised = quantised_of(pipeline.unet)
    if quantised is not None and quantised.in_full:
        found = {"SDXL_QUANTIZE_LORAS=1": quantised.bytes_in_full}
    if on_card and not offloaded:
        idle = [getattr(pipeline, part) for part in NETWORKS if part not in parts]
        found["SDXL_ENABLE_CPU_OFFLOAD=1"] = sum(held_bytes(one) for part in idle for one in part.parameters())
    return found


def smaller(size: tuple[int, int], share: float) -> tuple[int, int]:
    """Return the largest picture of the same shape with at most this share of the pixels: what it takes is as many."""
    scale = math.sqrt(share)
    width, height = (max(SIDE_STEP, int(side * scale) // SIDE_STEP * SIDE_STEP) for side in size)
    return width, height
