"""Trains the autoencoder on drawn pictures; encodes nothing for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn import functional

from tools.tiny.autoencoder_net import autoencoder_loss, make_autoencoder, to_signal
from tools.tiny.pictures import Pictures
from tools.tiny.recipe import Recipe
from tools.tiny.training import Trainer, chance_of

FOLDER: Final = "autoencoder"
PICTURES: Final = "pictures"


def halved(signal: torch.Tensor) -> torch.Tensor:
    """Return pictures at half their side."""
    return functional.avg_pool2d(signal, 2).contiguous(memory_format=torch.channels_last)


class AutoencoderTask:
    """Squares of drawn pictures first, whole ones in the end: borders are learned there."""

    def __init__(self, recipe: Recipe, pictures: Pictures, device: torch.device) -> None:
        torch.manual_seed(recipe.autoencoder.seed)
        self._recipe, self._pictures, self._device = recipe, pictures, device
        self._count = pictures.count()
        net: Any = make_autoencoder(recipe.autoencoder_shape, recipe.side)
        self.net = net.to(device=device, memory_format=torch.channels_last)

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss on one share of a fresh batch."""
        recipe, plan = self._recipe, self._recipe.autoencoder
        chance = chance_of(step, plan.seed)
        whole = step >= recipe.whole_from
        side = recipe.drawn if whole else recipe.drawn // 2
        # As many pixels a step, whole or not, and as many in each share.
        batch = max(shares, (plan.batch // 4 if whole else plan.batch) // shares * shares)
        indices = torch.randint(0, self._count, (batch,), generator=chance).tolist()
        corners = (torch.randint(0, (recipe.drawn - side) // 2 + 1, (batch, 2), generator=chance) * 2).tolist()
        small = side // 2 // recipe.autoencoder_shape.factor
        noise = torch.randn((batch, recipe.autoencoder_shape.latent_channels, small, small), generator=chance)
        pixels = self._pictures.crops(indices[share::shares], corners[share::shares], side)
        signal = halved(to_signal(torch.from_numpy(pixels).to(self._device)))
        return autoencoder_loss(self.net, signal, noise[share::shares].to(self._device))


@dataclass(frozen=True, slots=True)
class MakeAutoencoderTask:
    """Makes the task in whatever process needs it."""

    recipe: Recipe
    work: Path
    device: str

    def __call__(self) -> AutoencoderTask:
        """Return a new task; its weights are the same each time."""
        pictures = Pictures(self.work / PICTURES, self.recipe.drawn, self.recipe.per_file)
        return AutoencoderTask(self.recipe, pictures, torch.device(self.device))


def train_autoencoder(recipe: Recipe, work: Path, device: str, workers: int) -> bool:
    """Train until the plan is done (True) or until asked to stop (False)."""
    make = MakeAutoencoderTask(recipe, work, device)
    return Trainer(make, recipe.autoencoder, work / FOLDER, "autoencoder", workers).run()
