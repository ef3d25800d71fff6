"""What the model is worth, in figures: traits shown, colours measured, seeds that differ, seconds a picture."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from tools.artist.traits import TRAIT_NAMES
from tools.tiny.autoencoder import PICTURES, halved
from tools.tiny.autoencoder_net import to_signal
from tools.tiny.captions import Caption, caption
from tools.tiny.classifier import Judge, drawn_for_test, judged, load_judge
from tools.tiny.creatures import training_traits, unseen_traits
from tools.tiny.hues import Hues
from tools.tiny.pictures import Pictures
from tools.tiny.progress import Progress
from tools.tiny.recipe import Recipe
from tools.tiny.sheets import draw_prompts

PROMPTS: Final = 520
ALWAYS: Final = ("element", "body", "colour")  # so that every prompt names what no training caption names
PORTION: Final = 40
KNOWN_PICTURES: Final = 1500
SEEDS: Final = 8

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Settings:
    """How pictures are drawn while they are judged."""

    prompts: int = PROMPTS
    steps: int = 8
    guidance: float = 3.0
    test_pictures: int = 600


def unseen_captions(count: int) -> list[Caption]:
    """Return captions of creatures whose element, body and colour never came together in training."""
    return [caption(unseen_traits(index), random.Random(f"prompt/{index}"), ALWAYS) for index in range(count)]


def shares_shown(captions: Sequence[Caption], found: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Return for each trait how many captions name it and which share of their pictures shows it."""
    shown: dict[str, dict[str, float]] = {}
    for name in TRAIT_NAMES:
        hits = [found[name][index] in one.named[name] for index, one in enumerate(captions) if name in one.named]
        if hits:
            shown[name] = {"named": len(hits), "shown": round(sum(hits) / len(hits), 4)}
    return shown


def evaluate(pipeline: Any, recipe: Recipe, work: Path, settings: Settings) -> dict[str, Any]:
    """Draw, judge and measure; return all figures."""
    judge = load_judge(work)
    captions = unseen_captions(settings.prompts)
    progress = Progress("evaluating", len(captions))
    drawn = []
    started = time.monotonic()
    for start in range(0, len(captions), PORTION):
        texts = [one.text for one in captions[start : start + PORTION]]
        seeds = range(start, start + len(texts))
        drawn.append(draw_prompts(pipeline, texts, seeds, 8, settings.steps, settings.guidance))
        progress.tell(start + len(texts))
    batched = (time.monotonic() - started) / len(captions)
    pixels = np.concatenate(drawn)
    found = judged(judge, pixels)
    hues = _hues(recipe, work)
    measured = {"measured colour": _measured(hues, pixels, captions)}
    return {
        "prompts": len(captions),
        "steps": settings.steps,
        "guidance": settings.guidance,
        "traits": {**shares_shown(captions, found), **measured},
        "of all named": _overall(captions, found),
        "judge on drawn pictures": judge_accuracy(judge, hues, settings.test_pictures, recipe.drawn),
        "diversity": diversity(pipeline, captions, settings),
        "seconds a picture": {
            "one": seconds_alone(pipeline, captions[0].text, settings),
            "in eights": round(batched, 3),
        },
        "threads": torch.get_num_threads(),
    }


def _overall(captions: Sequence[Caption], found: Mapping[str, Sequence[str]]) -> float:
    hits = [found[name][index] in allowed for index, one in enumerate(captions) for name, allowed in one.named.items()]
    return round(sum(hits) / max(1, len(hits)), 4)


def _hues(recipe: Recipe, work: Path) -> Hues:
    pictures = Pictures(work / PICTURES, recipe.drawn, recipe.per_file)
    indices = range(min(KNOWN_PICTURES, pictures.count()))
    return Hues(_small(pictures.take(indices)), [training_traits(index) for index in indices])


def _measured(hues: Hues, pixels: Pixels, captions: Sequence[Caption]) -> dict[str, float]:
    hits = [hues.colour(picture) in one.named["colour"] for picture, one in zip(pixels, captions, strict=True)]
    return {"named": len(hits), "shown": round(sum(hits) / len(hits), 4)}


def _small(pixels: Pixels) -> Pixels:
    """Return the pictures at half their side."""
    small: Pixels = (
        ((halved(to_signal(torch.from_numpy(pixels))) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    )
    return small


def judge_accuracy(judge: Judge, hues: Hues, count: int, side: int) -> dict[str, float]:
    """Return how often the judge is right on drawn pictures that it has not seen: no figure can be surer than that."""
    pixels, traits = drawn_for_test(count, side)
    small = _small(pixels)
    found = judged(judge, small)
    right = {
        name: round(
            float(np.mean([found[name][index] == getattr(one, name).value for index, one in enumerate(traits)])), 4
        )
        for name in TRAIT_NAMES
    }
    measured = [hues.colour(picture) == one.colour.value for picture, one in zip(small, traits, strict=True)]
    return {**right, "measured colour": round(float(np.mean(measured)), 4)}


def diversity(pipeline: Any, captions: Sequence[Caption], settings: Settings) -> dict[str, float]:
    """Return how far apart the pictures of different seeds are, as a mean absolute difference from 0 to 255."""
    gaps = []
    for one in captions[:4]:
        drawn = draw_prompts(pipeline, [one.text] * SEEDS, range(SEEDS), SEEDS, settings.steps, settings.guidance)
        wide = drawn.astype(np.float64)
        gaps += [float(np.abs(wide[a] - wide[b]).mean()) for a in range(SEEDS) for b in range(a)]
    return {"least": round(min(gaps), 2), "mean": round(sum(gaps) / len(gaps), 2)}


def seconds_alone(pipeline: Any, text: str, settings: Settings, times: int = 5) -> float:
    """Return the median time of one picture drawn alone."""
    taken = []
    for seed in range(times):
        started = time.monotonic()
        draw_prompts(pipeline, [text], [seed], 1, settings.steps, settings.guidance)
        taken.append(time.monotonic() - started)
    return round(sorted(taken)[times // 2], 3)
