"""Teaches the text encoders what a caption says of a creature, before a UNet has to learn it through its pictures.

Each trait is read by one linear layer from the pooled meaning, and from the end of the first encoder's text: the layers
are thrown away, what they made the encoders tell apart stays. What a caption does not say is read as chance has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn import functional

from tools.artist.traits import TRAIT_KINDS, TRAIT_NAMES
from tools.tiny.ahead import Here
from tools.tiny.creatures import FIRST_TEST_INDEX, training_traits
from tools.tiny.painter_net import Words
from tools.tiny.recipe import Recipe
from tools.tiny.tokenizer import load_tokenizer
from tools.tiny.training import Trainer, chance_of, load_checkpoint

FOLDER: Final = "reader"
WORDS: Final = "words."
VALUES: Final[Mapping[str, list[str]]] = {name: [one.value for one in TRAIT_KINDS[name]] for name in TRAIT_NAMES}


class Reader(torch.nn.Module):
    """Both text encoders, and what reads the traits from them."""

    def __init__(self, pieces: int, recipe: Recipe) -> None:
        super().__init__()
        shape = recipe.painter_shape
        values = sum(len(names) for names in VALUES.values())
        self.words = Words(pieces, shape)
        self.pooled = torch.nn.Linear(shape.pooled, values)
        self.first = torch.nn.Linear(shape.first_words, values)
        self._width = shape.first_words

    def forward(self, rows: torch.Tensor, ends: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is read of every value, by the pooled meaning and by the first encoder; `ends` of the texts."""
        said, pooled = self.words(rows)
        at_end = said[torch.arange(len(rows), device=rows.device), ends, : self._width]
        return self.pooled(pooled), self.first(at_end)


class ReaderTask:
    """One batch: captions of any creatures, drawn or not, and the traits that they were written of."""

    def __init__(self, recipe: Recipe, tokenizer: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.reader.seed)
        self._plan, self._device = recipe.reader, device
        pieces = load_tokenizer(tokenizer)
        self._end: int = pieces.eos_token_id
        self._writer = Here(tokenizer, recipe.reader.seed)
        net: Any = Reader(len(pieces), recipe)
        self.net: torch.nn.Module = net.to(device)

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the mean cross entropy of the traits on one share of a fresh batch, and how many are read right."""
        chance = chance_of(step, self._plan.seed)
        indices = torch.randint(0, FIRST_TEST_INDEX, (self._plan.batch,), generator=chance)[share::shares].tolist()
        rows = self._writer.written(step, indices).rows
        ends = (rows == self._end).int().argmax(1)
        rows = rows[:, : int(ends.max()) + 1]  # nothing before the end hears of what follows it
        with torch.autocast(self._device.type, torch.bfloat16):
            readings = self.net(rows.to(self._device), ends.to(self._device))
        wanted = truth(indices).to(self._device)
        losses, right = [], []
        for reading in readings:
            parts = torch.split(reading.float(), [len(names) for names in VALUES.values()], 1)
            losses += [functional.cross_entropy(part, wanted[:, place]) for place, part in enumerate(parts)]
            right += [(part.argmax(1) == wanted[:, place]).float().mean() for place, part in enumerate(parts)]
        count = len(VALUES)
        told = {"pooled": torch.stack(right[:count]).mean().item(), "first": torch.stack(right[count:]).mean().item()}
        return torch.stack(losses).mean(), told


def truth(indices: list[int]) -> torch.Tensor:
    """Return the place of each trait's value for every creature, [creatures, traits]."""
    traits = [training_traits(index) for index in indices]
    return torch.tensor([[VALUES[name].index(getattr(one, name).value) for name in VALUES] for one in traits])


@dataclass(frozen=True, slots=True)
class MakeReaderTask:
    """Makes the task in whatever process needs it."""

    recipe: Recipe
    tokenizer: Path
    device: str

    def __call__(self) -> ReaderTask:
        """Return a new task; its weights are the same each time."""
        return ReaderTask(self.recipe, self.tokenizer, torch.device(self.device))


def train_reader(recipe: Recipe, work: Path, tokenizer: Path, device: str, workers: int) -> bool:
    """Train until the plan is done (True) or until asked to stop (False)."""
    make = MakeReaderTask(recipe, tokenizer, device)
    return Trainer(make, recipe.reader, work / FOLDER, "reader", workers).run()


def read_words(work: Path) -> dict[str, torch.Tensor] | None:
    """Return the text encoders' weights as the reader left them, or None where there was no reader."""
    state = load_checkpoint(work / FOLDER)
    if state is None:
        return None
    return {name.removeprefix(WORDS): value for name, value in state["averaged"].items() if name.startswith(WORDS)}
