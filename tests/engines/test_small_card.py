"""SDXL's true sizes on a card of 8 GB, estimated without weights and without a card: 1024 x 1024 within 7.2 GB."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest
import torch

from bench.gpu.sizes import SDXL
from bench.gpu.weights import build
from minimon_server.engines import sdxl_ladder
from minimon_server.engines.acceleration_table import SCHEMES
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, Hires
from minimon_server.engines.quantised_layers import QuantisedLayers
from minimon_server.engines.sdxl_ladder import PARTS, Ladder
from minimon_server.engines.sdxl_loading import Place, dtype_of
from minimon_server.engines.sdxl_memory import (
    DECODING_TENSORS,
    DRAWING_TENSORS,
    decoding_floor,
    drawing_floor,
    parts_bytes,
)
from minimon_server.logs import Logger

Asking = Callable[..., DrawRequest]
GIGABYTE: Final = 1e9
BUDGET: Final = 7.2 * GIGABYTE
SIDE: Final = 1024
# What a profiler saw at the peak, where the estimate, a floor, counts `DRAWING_TENSORS` and `DECODING_TENSORS`.
MOST_DRAWING: Final = 18.4
MOST_DECODING: Final = 4.0
FP8: Final = next(scheme for scheme in SCHEMES if scheme.label == "fp8 weight-only")


def networks(dtype: torch.dtype, log: Logger, *, is_quantised: bool) -> Any:
    """Return SDXL's networks without weights, in the numbers and the scheme that a card of `dtype` holds them in."""
    made = build(SDXL, torch.device("meta"), dtype)
    place = Place(torch.device("cuda"), dtype, "a test")
    made.vae.to(dtype_of("vae", place, SDXL.vae))
    if is_quantised:
        QuantisedLayers(made.unet, FP8, torch.device("meta"), log)
    parts = {name: getattr(made, name) for name in ("unet", "vae", "text_encoder", "text_encoder_2")}
    return SimpleNamespace(**parts)


def gigabytes(parts: Any) -> dict[str, float]:
    """Return what each stage takes at the peak, where only the networks that are computing are on the card."""
    stages: tuple[sdxl_ladder.Stage, ...] = ("prompt", "drawing", "decoding")
    weights = {stage: parts_bytes([getattr(parts, part) for part in PARTS[stage]]) for stage in stages}
    latents = (SIDE // SDXL.shrink) ** 2
    drawing = drawing_floor(parts.unet, latents, rows=2) / DRAWING_TENSORS * MOST_DRAWING
    decoding = decoding_floor(parts.vae, SIDE, SIDE) / DECODING_TENSORS * MOST_DECODING
    found = {
        "prompt": weights["prompt"],
        "drawing": weights["drawing"] + drawing,
        "drawing from a picture": weights["drawing"] + drawing + parts_bytes([parts.vae]),
        "decoding": weights["decoding"] + decoding,
    }
    return {stage: round(value / GIGABYTE, 1) for stage, value in found.items()}


@pytest.mark.parametrize(
    ("dtype", "is_quantised", "expected"),
    [
        (torch.bfloat16, False, (1.6, 5.5, 5.7, 2.3)),
        (torch.bfloat16, True, (1.6, 3.7, 3.8, 2.3)),
        (torch.float16, True, (1.6, 3.7, 4.0, 4.6)),
    ],
)
def test_an_offloaded_picture_of_1024_pixels_is_estimated_within_the_budget(
    dtype: torch.dtype,
    is_quantised: bool,
    expected: tuple[float, ...],
    log: Logger,
    request_for: Asking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = networks(dtype, log, is_quantised=is_quantised)
    found = gigabytes(parts)
    assert tuple(found.values()) == expected  # docs/acceleration.md tells them
    assert max(expected) * GIGABYTE < BUDGET
    for asked in (request_for(width=SIDE, height=SIDE), request_for(hires=Hires(SIDE, SIDE, 2, 0.6))):
        ladder = Ladder(asked, Place(torch.device("cuda"), dtype, "a test"), log, MemoryTally(), rests=True)
        ladder.stand_on(parts, rests=True)
        ladder.rows = 2
        monkeypatch.setattr(sdxl_ladder, "free_bytes", lambda _: int(BUDGET))
        ladder.look_ahead()
        assert ladder.taken == []


def test_without_offloading_weights_leave_little_of_it(log: Logger) -> None:
    parts = networks(torch.bfloat16, log, is_quantised=False)
    assert parts_bytes(list(vars(parts).values())) / GIGABYTE == pytest.approx(6.9, abs=0.05)
    quantised = networks(torch.bfloat16, log, is_quantised=True)
    assert parts_bytes(list(vars(quantised).values())) / GIGABYTE == pytest.approx(5.1, abs=0.05)
