"""The parts of a picture and what goes into them at a batch; times them in one mode. Makes no mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from bench.gpu.capture import Captured
from bench.gpu.modes import Calls, Mode
from bench.gpu.rows import Left, Lines, Row
from bench.gpu.sizes import TIME_IDS, TOKENS, Sizes
from bench.gpu.timing import Effort, Times, measure
from bench.gpu.weights import check
from minimon_server.engines.sdxl_loading import Place

TEXT, UNET, VAE, DRAFT = "text", "unet", "vae", "draft decoder"
STAGES = (TEXT, UNET, VAE, DRAFT)


@dataclass(frozen=True)
class Inputs:
    """Random inputs for B pictures: ids B x 77; latents B x 4 x side x side; words B x 77 x width; pooled B x width."""

    ids: torch.Tensor
    latents: torch.Tensor
    at: torch.Tensor
    words: torch.Tensor
    pooled: torch.Tensor
    time_ids: torch.Tensor

    def of(self, stage: str) -> tuple[torch.Tensor, ...]:
        """Return what the call of a stage takes."""
        if stage == TEXT:
            return (self.ids,)
        if stage == UNET:
            return self.latents, self.at, self.words, self.pooled, self.time_ids
        return (self.latents,)


def inputs(sizes: Sizes, place: Place, batch: int, side: int, seed: int = 1) -> Inputs:
    """Return random inputs for pictures of `side` pixels."""
    numbers = None if place.device.type == "meta" else torch.Generator(place.device).manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=numbers, device=place.device, dtype=place.dtype)

    latents = normal(batch, 4, side // sizes.shrink, side // sizes.shrink)
    size = torch.tensor([side, side, 0, 0, side, side], device=place.device, dtype=place.dtype)
    vocabulary = int(sizes.text_encoder["vocab_size"])
    return Inputs(
        torch.randint(vocabulary, (batch, TOKENS), generator=numbers, device=place.device),
        latents,  # laid out as the engine's noise is
        torch.full((batch,), 999.0, device=place.device),
        normal(batch, TOKENS, sizes.words_width),
        normal(batch, int(sizes.text_encoder_2["projection_dim"])),
        size.expand(batch, TIME_IDS).contiguous(),
    )


def calls_by_stage(calls: Calls) -> dict[str, Callable[..., Any]]:
    """Return the call of each stage."""
    return {TEXT: calls.text, UNET: calls.unet, VAE: calls.pixels, DRAFT: calls.draft}


def time_stages(
    sizes: Sizes, place: Place, calls: Calls, mode: Mode, batches: tuple[int, ...], effort: Effort, lines: Lines
) -> None:
    """Time every stage at every batch, at the size of Turbo's pictures; a quantised mode is another UNet alone."""
    for batch in batches:
        for stage, call in calls_by_stage(calls).items():
            if mode.quantisation is not None and stage != UNET:
                continue
            given = inputs(sizes, place, batch, sizes.turbo_side).of(stage)
            attempt(stage, mode, batch, lines, partial(timed, call, given, mode, place, effort))


def timed(call: Callable[..., Any], given: tuple[torch.Tensor, ...], mode: Mode, place: Place, effort: Effort) -> Times:
    """Time one call, captured if the mode is; raise `BenchError` when its answer is no numbers."""
    run = Captured(call, given) if mode.graphs else call
    check("the answer", run(*given))
    return measure(lambda: run(*given), place.device, effort)


def attempt(part: str, mode: Mode, batch: int, lines: Lines, time: Callable[[], Times]) -> None:
    """Write a row of what is timed, or why there is none: one that fails ends nothing else."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.empty_cache()  # what the row before held, a captured graph's memory too, is there for this one
        torch.cuda.reset_peak_memory_stats()
    try:
        times = time()
    except Exception as error:
        lines.tell(Left(f"{part}, {mode.name}, batch {batch}", why(error)))
        times = None
    if times is not None:
        peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else None
        lines.tell(Row(part, mode.name, batch, times.median, times.low, times.high, times.calls, peak_mib=peak))


def why(error: Exception) -> str:
    """Return the first line of what went wrong, with its class."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__
