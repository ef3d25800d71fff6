"""Whole pictures without a pipeline: Turbo's one step, SDXL's many with guidance, from ids to bytes in main memory.

Times nothing, draws nothing that is worth a look: the weights are random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

from bench.errors import BenchError
from bench.gpu.capture import Captured
from bench.gpu.modes import Calls, Mode
from bench.gpu.rows import Lines
from bench.gpu.sizes import BASE_SCHEDULER, TURBO_SCHEDULER, Sizes
from bench.gpu.stages import Inputs, attempt, inputs
from bench.gpu.timing import Effort, Times, measure
from bench.gpu.weights import check
from minimon_server.engines.sdxl_landing import Landing
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_side_by_side import WIDEST

TURBO, TURBO_DRAFT, BASE = "turbo picture", "turbo picture, draft decoder", "sdxl picture, guided"
Path = Callable[[], list[Any]]  # the pixels of B pictures, height x width x 3 bytes each; None: came out as none


def order(batches: Sequence[int], bases: Sequence[int], *, is_quantised: bool = False) -> list[tuple[str, int]]:
    """Return in which order whole pictures are measured, as part and batch: whatever ends a run early costs the last.

    Turbo's at the smallest batch, SDXL's, Turbo's down from the largest batch that a goal looks at, and last, upwards,
    those that no goal does: a device that fails there takes nothing with it. Where the UNet is quantised SDXL's come
    before all others, for one goal is that mode's alone, and each size is compiled for minutes.
    """
    judged = [(TURBO, batch) for batch in sorted(batches) if batch <= WIDEST]
    beyond = [(TURBO, batch) for batch in sorted(batches) if batch > WIDEST]
    smallest, large = judged[:1], [(BASE, batch) for batch in bases]
    first = [*large, *smallest] if is_quantised else [*smallest, *large]
    return [*first, *reversed(judged[1:]), *beyond]


def time_paths(
    sizes: Sizes,
    place: Place,
    calls: Calls,
    mode: Mode,
    batches: tuple[int, ...],
    bases: tuple[int, ...],
    effort: Effort,
    lines: Lines,
) -> None:
    """Time whole pictures, as `order` says; Turbo's with either decoder."""  # fmt: skip

    def timed(make: Callable[[], Path]) -> Times:
        path = make()
        for picture in path():
            if picture is None:
                raise BenchError("what came out is no picture; its time would say nothing")
            check("the picture", torch.from_numpy(picture))
        return measure(path, place.device, effort)

    def turbos(batch: int) -> None:
        given = inputs(sizes, place, batch, sizes.turbo_side)
        for part, decode in ((TURBO, calls.pixels), (TURBO_DRAFT, calls.draft)):
            attempt(part, mode, batch, lines, partial(timed, partial(turbo, calls, decode, given, mode)))

    def bases_of(batch: int) -> None:
        given = inputs(sizes, place, 2 * batch, sizes.base_side)
        attempt(BASE, mode, batch, lines, partial(timed, partial(base, calls, sizes, given, mode)))

    for part, batch in order(batches, bases, is_quantised=mode.quantisation is not None):
        (bases_of if part == BASE else turbos)(batch)


def turbo(calls: Calls, decode: Callable[..., Any], given: Inputs, mode: Mode) -> Path:
    """Return what makes B pictures in one step: text, then noise to bytes, captured apart; then the copy.

    One step of Euler's ancestral scheduler ends at sigma 0, where it adds no noise: x0 = sigma * (noise - prediction).
    """
    scheduler: Any = EulerAncestralDiscreteScheduler(**TURBO_SCHEDULER)
    scheduler.set_timesteps(1)
    sigma = float(scheduler.sigmas[0])
    at = torch.full_like(given.at, float(scheduler.timesteps[0]))

    def drawn(noise: torch.Tensor, words: torch.Tensor, pooled: torch.Tensor, time_ids: torch.Tensor) -> Any:
        begun = noise * (sigma / (sigma**2 + 1) ** 0.5)
        return decode(sigma * (noise - calls.unet(begun, at, words, pooled, time_ids)))

    text = _run(calls.text, (given.ids,), mode)
    words, pooled = text(given.ids)
    draw = _run(drawn, (given.latents, words, pooled, given.time_ids), mode)

    def path() -> list[Any]:
        words, pooled = text(given.ids)
        return Landing(draw(given.latents, words, pooled, given.time_ids)).pixels()

    return path


def base(calls: Calls, sizes: Sizes, given: Inputs, mode: Mode) -> Path:
    """Return what makes B pictures in all steps of Euler's scheduler, guided: `given` holds B prompts to avoid first.

    A step is one call (and one graph): the UNet over 2 B rows, guidance, and the scheduler's own arithmetic.
    """
    scheduler: Any = EulerDiscreteScheduler(**BASE_SCHEDULER)
    scheduler.set_timesteps(sizes.base_steps)
    sigmas = scheduler.sigmas.to(given.at)
    times = [torch.full_like(given.at, float(one)) for one in scheduler.timesteps]
    count = len(given.ids) // 2
    noise = given.latents[:count] * float(scheduler.init_noise_sigma)

    def step(
        latents: torch.Tensor, sigma: torch.Tensor, following: torch.Tensor, at: torch.Tensor,
        words: torch.Tensor, pooled: torch.Tensor, time_ids: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        rows = torch.cat([latents, latents]) / (sigma**2 + 1).sqrt()
        avoided, asked = calls.unet(rows, at, words, pooled, time_ids).chunk(2)
        stepped: torch.Tensor = latents + (avoided + sizes.guidance * (asked - avoided)) * (following - sigma)
        return stepped

    text = _run(calls.text, (given.ids,), mode)
    words, pooled = text(given.ids)
    stepped = _run(step, (noise, sigmas[0], sigmas[1], times[0], words, pooled, given.time_ids), mode)
    decode = _run(calls.pixels, (noise,), mode)

    def path() -> list[Any]:
        words, pooled = text(given.ids)
        latents = noise
        for sigma, following, at in zip(sigmas[:-1], sigmas[1:], times, strict=True):
            latents = stepped(latents, sigma, following, at, words, pooled, given.time_ids)
        return Landing(decode(latents)).pixels()

    return path


def _run(call: Callable[..., Any], examples: tuple[torch.Tensor, ...], mode: Mode) -> Callable[..., Any]:
    return Captured(call, examples) if mode.graphs else call
