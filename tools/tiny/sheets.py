"""Contact sheets: what the model draws for fixed prompts and seeds, and what the autoencoder gives back. Unpicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from tools.tiny.assemble import GUIDANCE, RESCALE, STEPS

Pixels = NDArray[np.uint8]

PROMPTS: Final = (
    "a red fire minimon with horns, two wings, big eyes, golden aura, legendary, night sky",
    "a blue water bird minimon, happy eyes, underwater",
    "green grass slime, big eyes, smile, forest background",
    "a yellow electric four-legged minimon with cat ears, angry eyes, meadow",
    "a purple ghost minimon with one eye and fangs, cave background",
    "a white ice serpent with sleepy eyes in the snow",
    "pink round bunny with big eyes, cat mouth, plain background",
    "black two-legged minimon, bat wings, devil tail, angry eyes, volcano",
    "S+ teal bird, feathered wings, rainbow aura, sunset",
    "un minimon orange à quatre pattes, tacheté, queue touffue, désert, rang F",
    "brown minimon with antlers and round ears, no wings, in a forest",
    "winged crimson kitty, purple aura, mythic, unicorn horn",
)
SEEDS: Final = (0, 1, 2, 3)


def draw_prompts(pipeline: Any, prompts: Sequence[str], seeds: Sequence[int], at_once: int = 8,
                 steps: int = STEPS, guidance: float = GUIDANCE) -> Pixels:  # fmt: skip
    """Return a picture for each pair of prompt and seed, each with its own noise."""
    found = []
    for start in range(0, len(prompts), at_once):
        part = slice(start, start + at_once)
        chance = [torch.Generator("cpu").manual_seed(seed) for seed in seeds[part]]
        drawn = pipeline(
            list(prompts[part]),
            num_inference_steps=steps,
            guidance_scale=guidance,
            guidance_rescale=RESCALE,
            generator=chance,
            output_type="np",
        )
        found.append((np.asarray(drawn.images) * 255).round().astype(np.uint8))
    return np.concatenate(found)


def prompt_sheet(pipeline: Any, prompts: Sequence[str] = PROMPTS, seeds: Sequence[int] = SEEDS) -> Pixels:
    """Return the contact sheet: two prompts a row, a column for each seed."""
    pairs = [(prompt, seed) for prompt in prompts for seed in seeds]
    drawn = draw_prompts(pipeline, [prompt for prompt, _ in pairs], [seed for _, seed in pairs])
    return tile(drawn, 2 * len(seeds))


def pairs_sheet(above: torch.Tensor, below: torch.Tensor, columns: int = 8) -> Pixels:
    """Return rows of originals, each over the row of what came back."""
    rows = []
    for start in range(0, len(above), columns):
        rows += [to_pixels(above[start : start + columns]), to_pixels(below[start : start + columns])]
    return tile(np.concatenate(rows), columns)


def tile(pictures: Pixels, columns: int) -> Pixels:
    """Lay pictures of one size side by side, row under row; what is left over in the last row is left out."""
    rows = [np.concatenate(list(pictures[at : at + columns]), 1)
            for at in range(0, len(pictures) - columns + 1, columns)]  # fmt: skip
    return np.concatenate(rows)


def to_pixels(signal: torch.Tensor) -> Pixels:
    """Turn floats from -1 to 1, channels first, into bytes of [picture, row, column, channel]."""
    pixels: Pixels = ((signal + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return pixels
