"""Trains text encoders and UNet together on latents and captions, new captions in every step."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from tools.tiny.autoencoder import PICTURES
from tools.tiny.captions import typed
from tools.tiny.creatures import training_traits
from tools.tiny.latents import Latents
from tools.tiny.painter_net import TIMES, Painter, make_scheduler, painter_loss
from tools.tiny.pictures import Pictures
from tools.tiny.recipe import Recipe
from tools.tiny.tokenizer import load_tokenizer, token_rows
from tools.tiny.training import Trainer, chance_of

FOLDER: Final = "painter"
LATENTS: Final = "latents"
TOKENIZER: Final = "tokenizer"
UNSPOKEN: Final = 0.1
SIDES: Final = (64, 1024)


class PainterTask:
    """One batch: creatures at random, a new caption for each, times spread evenly."""

    def __init__(self, recipe: Recipe, latents: Latents, tokenizer: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.painter.seed)
        self._recipe, self._device = recipe, device
        self._latents = latents.all()
        self._tokenizer = load_tokenizer(tokenizer)
        self._signal_shares = make_scheduler().alphas_cumprod.float().to(device)
        net: Any = Painter(len(self._tokenizer), recipe.painter_shape, self._latents.shape[-1])
        self.net: torch.nn.Module = net.to(device=device, memory_format=torch.channels_last)

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss on one share of a fresh batch."""
        plan = self._recipe.painter
        chance = chance_of(step, plan.seed)
        count = plan.batch
        mine = slice(share, None, shares)
        indices = torch.randint(0, len(self._latents), (count,), generator=chance)[mine]
        noise = torch.randn((count, *self._latents.shape[1:]), generator=chance)[mine]
        spread = (torch.rand(count, generator=chance) + torch.arange(count)) / count
        times = (spread * TIMES).long().clamp(0, TIMES - 1)[mine]
        spoken = (torch.rand(count, generator=chance) >= UNSPOKEN).float()[mine]
        texts = [
            typed(training_traits(index), random.Random(f"caption/{plan.seed}/{step}/{index}"))
            for index in indices.tolist()
        ]
        # It draws at one size, whatever size it is told of: so any is told.
        sides = torch.randint(SIDES[0], SIDES[1] + 1, (count,), generator=chance)[mine].float()
        batch = {
            "latents": self._latents[indices].float(),
            "noise": noise,
            "times": times,
            "rows": torch.tensor(token_rows(self._tokenizer, texts)),
            "spoken": spoken,
            "sides": sides,
        }
        batch = {name: value.to(self._device) for name, value in batch.items()}
        return painter_loss(self.net, batch, self._signal_shares), {}


@dataclass(frozen=True, slots=True)
class MakePainterTask:
    """Makes the task in whatever process needs it."""

    recipe: Recipe
    work: Path
    device: str

    def __call__(self) -> PainterTask:
        """Return a new task; its weights are the same each time."""
        recipe = self.recipe
        pictures = Pictures(self.work / PICTURES, recipe.drawn, recipe.per_file)
        latents = Latents(self.work / LATENTS, pictures, recipe.per_file)
        return PainterTask(recipe, latents, self.work / TOKENIZER, torch.device(self.device))


def train_painter(recipe: Recipe, work: Path, device: str, workers: int) -> bool:
    """Train until the plan is done (True) or until asked to stop (False)."""
    make = MakePainterTask(recipe, work, device)
    return Trainer(make, recipe.painter, work / FOLDER, "painter", workers).run()
