"""The autoencoder at the pictures' full side: one finer level around the finished one, for the very same latents.

The UNet never sees the difference: latents stay what the finished autoencoder makes of pictures at half their side. The
new decoder learns to draw them at full size, the new encoder to find them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from tools.tiny.autoencoder import PICTURES, halved
from tools.tiny.autoencoder_net import decibels, likeness, make_autoencoder, to_signal
from tools.tiny.finishing import finished_autoencoder
from tools.tiny.pictures import Pictures
from tools.tiny.recipe import Recipe
from tools.tiny.training import Trainer, chance_of, load_checkpoint

FOLDER: Final = "enlarger"
# Of what the encoder says of its own doubt, beside what it says of the picture.
DOUBT: Final = 0.02


def enlarged(recipe: Recipe, finished: Any) -> Any:
    """Return an autoencoder of one more level, with the finished one's weights wherever they fit."""
    shape = recipe.autoencoder_shape
    net = make_autoencoder(replace(shape, widths=(recipe.finest, *shape.widths)), recipe.drawn)
    own, known = net.state_dict(), finished.state_dict()
    for name, weight in own.items():
        inner = known.get(_inner_name(name))
        if inner is not None and inner.shape == weight.shape:
            weight.copy_(inner)
    return net


def _inner_name(name: str) -> str:
    """Return what a weight of the larger encoder is called in the smaller one, which lacks its first level."""
    parts = name.split(".")
    if parts[:2] == ["encoder", "down_blocks"]:
        parts[2] = str(int(parts[2]) - 1)
    return ".".join(parts)


class EnlargerTask:
    """Squares of drawn pictures first, whole ones in the end; the finished autoencoder says what the latents are."""

    def __init__(self, recipe: Recipe, work: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.enlarger.seed)
        self._recipe, self._device = recipe, device
        self._pictures = Pictures(work / PICTURES, recipe.drawn, recipe.per_file)
        self._count = self._pictures.count()
        self._finished = finished_autoencoder(recipe, work).to(device)
        net = enlarged(recipe, self._finished)
        self.net: Any = net.to(device=device, memory_format=torch.channels_last)

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss on one share of a fresh batch."""
        recipe, plan = self._recipe, self._recipe.enlarger
        chance = chance_of(step, plan.seed)
        whole = step >= plan.steps - plan.cooldown // 2
        side = recipe.drawn if whole else recipe.drawn // 2
        batch = max(shares, (plan.batch // 4 if whole else plan.batch) // shares * shares)
        indices = torch.randint(0, self._count, (batch,), generator=chance).tolist()
        corners = torch.randint(0, recipe.drawn - side + 1, (batch, 2), generator=chance).tolist()
        pixels = self._pictures.crops(indices[share::shares], corners[share::shares], side)
        signal = to_signal(torch.from_numpy(pixels).to(self._device))
        with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16):
            known = self._finished.encode(halved(signal)).latent_dist
        mean, doubt = known.mean.float(), known.logvar.float()
        small = side // 2 // recipe.autoencoder_shape.factor
        noise = torch.randn((batch, mean.shape[1], small, small), generator=chance)[share::shares].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16):
            found = self.net.encode(signal).latent_dist
            decoded = self.net.decode(mean + noise * torch.exp(0.5 * doubt)).sample
        alike, square = likeness(decoded.float(), signal)
        apart = (found.mean.float() - mean).square().mean()
        unsure = (found.logvar.float() - doubt).square().mean()
        return alike + apart + DOUBT * unsure, {"psnr": decibels(square), "apart": apart.item()}


@dataclass(frozen=True, slots=True)
class MakeEnlargerTask:
    """Makes the task in whatever process needs it."""

    recipe: Recipe
    work: Path
    device: str

    def __call__(self) -> EnlargerTask:
        """Return a new task; its weights are the same each time."""
        return EnlargerTask(self.recipe, self.work, torch.device(self.device))


def train_enlarger(recipe: Recipe, work: Path, device: str, workers: int) -> bool:
    """Train until the plan is done (True) or until asked to stop (False)."""
    make = MakeEnlargerTask(recipe, work, device)
    return Trainer(make, recipe.enlarger, work / FOLDER, "enlarger", workers).run()


def best_autoencoder(recipe: Recipe, work: Path) -> Any:
    """Return the autoencoder at full side, or the finished one at half of it as long as there is no other."""
    finished = finished_autoencoder(recipe, work)
    state = load_checkpoint(work / FOLDER)
    if state is None:
        return finished
    net = enlarged(recipe, finished)
    net.load_state_dict(state["averaged"])
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
