"""The captions of the steps to come, made by other processes while a GPU computes. They are those of the step.

A GPU takes a step in less time than one process needs to write its captions.
"""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from tools.artist.traits import TRAIT_NAMES
from tools.tiny.captions import typed
from tools.tiny.creatures import training_traits
from tools.tiny.tokenizer import load_tokenizer, token_rows

STEPS_AHEAD: Final = 24
WRITERS: Final = 12


Plain = tuple[list[list[int]], list[list[bool]]]


class Written(NamedTuple):
    """The captions of a step's creatures."""

    rows: torch.Tensor  # token rows, [creatures, tokens]
    named: torch.Tensor  # whether a caption names a trait, [creatures, traits], in the order of `TRAIT_NAMES`


def captions_of(tokenizer: Path, seed: int, trigger: str, step: int, indices: list[int]) -> Plain:
    """Return what `Written` holds, as lists: the same for ever. Every other text begins with a trigger."""
    said = [typed(training_traits(index), random.Random(f"caption/{seed}/{step}/{index}")) for index in indices]
    texts = [one.text for one in said]
    if trigger:
        texts = [f"{trigger}, {text}" if place % 2 else text for place, text in enumerate(texts)]
    named = [[name in one.named for name in TRAIT_NAMES] for one in said]
    return token_rows(_tokenizer(tokenizer), texts), named


@lru_cache(maxsize=2)
def _tokenizer(folder: Path) -> Any:
    return load_tokenizer(folder)


def _tensors(plain: Plain) -> Written:
    rows, named = plain
    return Written(torch.tensor(rows), torch.tensor(named))


class Here:
    """Writes the captions of a step when they are asked for."""

    def __init__(self, tokenizer: Path, seed: int, trigger: str = "") -> None:
        self._given = (tokenizer, seed, trigger)

    def written(self, step: int, indices: list[int]) -> Written:
        """Return the captions of these creatures in this step."""
        return _tensors(captions_of(*self._given, step, indices))


class Ahead:
    """Lets other processes write the captions of the next steps; `indices_of` says which creatures a step takes."""

    def __init__(self, tokenizer: Path, seed: int, trigger: str, indices_of: Any) -> None:
        self._given, self._indices_of = (tokenizer, seed, trigger), indices_of
        writers = min(WRITERS, multiprocessing.cpu_count())
        self._pool = ProcessPoolExecutor(writers, multiprocessing.get_context("spawn"))
        self._coming: dict[int, Future[Plain]] = {}

    def written(self, step: int, indices: list[int]) -> Written:
        """Return the captions of these creatures in this step, and let those of later steps be begun."""
        for later in range(step, step + STEPS_AHEAD):
            if later not in self._coming:
                wanted = indices if later == step else self._indices_of(later)
                self._coming[later] = self._pool.submit(captions_of, *self._given, later, wanted)
        found = _tensors(self._coming.pop(step).result())
        assert len(found.rows) == len(indices)
        return found
