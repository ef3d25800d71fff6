"""What a step costs with a stack of LoRAs, over a bare one: both evaluated by turns in every round. Loads nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from bench.report import Figure, Row, Target
from tests import small_pipeline

EVALUATIONS: Final = 5  # of each, in one round
# No operation more than a bare step has: what is left is what the machine does of itself between two evaluations.
WANTED: Final = Target(1.01, at_most=True)


@dataclass(frozen=True)
class Pair:
    """Two ways to do one thing; each call returns what it took."""

    bare: Callable[[], float]
    worn: Callable[[], float]


def rows(unets: Mapping[str, tuple[Any, Any]], latents: int, rounds: int) -> Iterator[Row]:
    """Yield a step bare, one that wears, and their ratio; `unets` are both of each contender, ours first.

    One row of `latents` a side, in ms of the processor: what another program takes of the core is in neither.
    """
    pairs = {
        who: Pair(partial(timed_step, bare, latents), partial(timed_step, worn, latents))
        for who, (bare, worn) in unets.items()
    }
    took = by_turns(pairs, rounds)
    for at, name in enumerate(("bare", "with two LoRAs")):
        cells = {who: Figure.of((each[at] for each in found), 2) for who, found in took.items()}
        yield Row(f"one step, {name}, processor's ms", cells, compared=True)
    ratios = {who: Figure.of((worn / bare for bare, worn in found), 3) for who, found in took.items()}
    yield Row("one step, with two LoRAs over bare", ratios, target=WANTED)


def by_turns(pairs: Mapping[str, Pair], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return for every round the medians of both ways of each contender; a first round does not count.

    Within a round both go by turns, and every other round begins with the other: a machine whose speed drifts drifts in
    both, and the ratios of the rounds keep still.
    """
    took: dict[str, list[tuple[float, float]]] = {who: [] for who in pairs}
    for turn in range(-1, rounds):
        for who, pair in pairs.items():
            found: tuple[list[float], list[float]] = ([], [])
            ways = [(pair.bare, found[0]), (pair.worn, found[1])]
            for _ in range(EVALUATIONS):
                for work, spent in ways if turn % 2 else reversed(ways):
                    spent.append(work())
            if turn >= 0:
                took[who].append((statistics.median(found[0]), statistics.median(found[1])))
    return took


def timed_step(unet: Any, latents: int) -> float:
    """Return the ms that the processor takes for one evaluation, on this thread."""
    began = time.thread_time()
    step(unet, latents)
    return (time.thread_time() - began) * 1e3


@torch.inference_mode()
def step(unet: Any, latents: int) -> torch.Tensor:
    """Return what a UNet makes of one row of fixed noise, so many latents a side."""
    numbers = torch.Generator().manual_seed(0)
    conditions = {"text_embeds": torch.zeros(1, small_pipeline.PROJECTION), "time_ids": torch.ones(1, 6)}
    words = torch.randn(1, 77, sum(small_pipeline.WIDTHS), generator=numbers)
    noise = torch.randn(1, 4, latents, latents, generator=numbers)
    found: torch.Tensor = unet(noise, torch.tensor(500), words, added_cond_kwargs=conditions, return_dict=False)[0]
    return found
