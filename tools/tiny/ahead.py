"""The token rows of the steps to come, made by other processes while a GPU computes. The rows are those of the step.

A GPU takes a step in less time than one process needs to write its captions.
"""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch

from tools.tiny.captions import typed
from tools.tiny.creatures import training_traits
from tools.tiny.tokenizer import load_tokenizer, token_rows

STEPS_AHEAD: Final = 24
WRITERS: Final = 12


def rows_of(tokenizer: Path, seed: int, trigger: str, step: int, indices: list[int]) -> list[list[int]]:
    """Return the token rows of a step's creatures: the same for ever. Every other text begins with a trigger."""
    texts = [typed(training_traits(index), random.Random(f"caption/{seed}/{step}/{index}")) for index in indices]
    if trigger:
        texts = [f"{trigger}, {text}" if place % 2 else text for place, text in enumerate(texts)]
    return token_rows(_tokenizer(tokenizer), texts)


@lru_cache(maxsize=2)
def _tokenizer(folder: Path) -> Any:
    return load_tokenizer(folder)


class Here:
    """Writes the rows of a step when they are asked for."""

    def __init__(self, tokenizer: Path, seed: int, trigger: str = "") -> None:
        self._given = (tokenizer, seed, trigger)

    def rows(self, step: int, indices: list[int]) -> torch.Tensor:
        """Return the token rows of these creatures in this step."""
        return torch.tensor(rows_of(*self._given, step, indices))


class Ahead:
    """Lets other processes write the rows of the next steps; `indices_of` says which creatures a step takes."""

    def __init__(self, tokenizer: Path, seed: int, trigger: str, indices_of: Any) -> None:
        self._given, self._indices_of = (tokenizer, seed, trigger), indices_of
        writers = min(WRITERS, multiprocessing.cpu_count())
        self._pool = ProcessPoolExecutor(writers, multiprocessing.get_context("spawn"))
        self._coming: dict[int, Future[list[list[int]]]] = {}

    def rows(self, step: int, indices: list[int]) -> torch.Tensor:
        """Return the token rows of these creatures in this step, and let those of later steps be begun."""
        for later in range(step, step + STEPS_AHEAD):
            if later not in self._coming:
                wanted = indices if later == step else self._indices_of(later)
                self._coming[later] = self._pool.submit(rows_of, *self._given, later, wanted)
        found = torch.tensor(self._coming.pop(step).result())
        assert len(found) == len(indices)
        return found
