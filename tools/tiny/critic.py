"""The critic: a small network that tells each trait from latents, so that the UNet's training hears of small things.

A mouth or a coat's stripes are a few hundredths of a picture's squared error: by that alone they are learnt last.
The critic reads them from the picture that a step foresees, and its cross entropy is lowered beside the squared error.
The judge of the evaluation (`classifier`) is another network, of pixels, that no training of the model ever sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from tools.artist.traits import TRAIT_KINDS
from tools.tiny.autoencoder import PICTURES
from tools.tiny.latents import FOLDER as LATENTS
from tools.tiny.latents import Latents
from tools.tiny.pictures import Pictures
from tools.tiny.reader import VALUES, truth
from tools.tiny.recipe import Recipe
from tools.tiny.training import Trainer, chance_of, load_checkpoint

FOLDER: Final = "critic"
WIDTHS: Final = (64, 128, 160)
MIXED: Final = 256
GROUPS: Final = 16
# What a step foresees is never as exact as latents of a drawn picture.
NOISE: Final = 0.5
# How much each trait counts: what is seen at a glance needs no critic.
WEIGHTS: Final[Mapping[str, float]] = MappingProxyType(
    {"pattern": 3.0, "mouth": 2.0, "ears": 1.0, "rarity": 1.0, "horns": 0.5, "eyes": 0.5, "tail": 0.5}
)
OTHERS: Final = 0.2


class Critic(nn.Module):
    """Convolutions at full, half and quarter side, then a choice for each trait."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        fine, coarse, coarsest = WIDTHS
        layers = [_layer(channels, fine), _layer(fine, fine), _layer(fine, fine)]
        layers += [_layer(fine, coarse, 2), _layer(coarse, coarse), _layer(coarse, coarse), _layer(coarse, coarsest, 2)]
        self.body = nn.Sequential(*layers)
        self.mix = nn.Linear(coarsest * (side // 4) ** 2, MIXED)
        self.choices = nn.ModuleDict({name: nn.Linear(MIXED, len(kind)) for name, kind in TRAIT_KINDS.items()})

    def forward(self, latents: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits of each trait's values, [pictures, values], in the order of `VALUES`."""
        mixed = functional.silu(self.mix(self.body(latents).flatten(1)))
        return [self.choices[name](mixed) for name in VALUES]


def _layer(before: int, after: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(GROUPS, after), nn.SiLU())


# To the UNet's lesson a coat counts more, for it comes last: mouths and ears were learnt while it stayed plain.
PULLS: Final[Mapping[str, float]] = MappingProxyType({**WEIGHTS, "pattern": 9.0, "horns": 1.0, "eyes": 6.0})


def misread(readings: list[torch.Tensor], wanted: torch.Tensor, weights: Mapping[str, float] = WEIGHTS) -> torch.Tensor:
    """Return the weighted cross entropy of each picture, [pictures], of what is to be read, [pictures, traits]."""
    losses = [
        weights.get(name, OTHERS) * functional.cross_entropy(reading.float(), wanted[:, place], reduction="none")
        for place, (name, reading) in enumerate(zip(VALUES, readings, strict=True))
    ]
    return torch.stack(losses).sum(0)


def chosen(readings: list[torch.Tensor], drawn: torch.Tensor, named: torch.Tensor) -> torch.Tensor:
    """Return what is to be read of each picture, [pictures, traits]: what was drawn where the caption `named` it.

    Where it did not, what is most nearly there: to be pulled towards what was drawn, which nothing tells before most of
    the noise is gone, would be to learn an even blend of all that it may be.
    """
    nearest = torch.stack([reading.argmax(1) for reading in readings], 1)
    return torch.where(named, drawn, nearest)


class CriticTask:
    """One batch: latents of drawn creatures, with noise of any strength up to half of theirs."""

    def __init__(self, recipe: Recipe, latents: Latents, device: torch.device) -> None:
        torch.manual_seed(recipe.critic.seed)
        self._plan, self._device = recipe.critic, device
        self._latents = latents.all()
        net: Any = Critic(*self._latents.shape[1:3])
        self.net: nn.Module = net.to(device=device, memory_format=torch.channels_last)

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss on one share of a fresh batch, and how many mouths and coats are read right."""
        chance = chance_of(step, self._plan.seed)
        indices = torch.randint(0, len(self._latents), (self._plan.batch,), generator=chance)[share::shares]
        clean = self._latents[indices].float()
        own = chance_of(step * shares + share, self._plan.seed + 1)
        strength = NOISE * torch.rand((len(clean), 1, 1, 1), generator=own)
        rough = (clean + strength * torch.randn(clean.shape, generator=own)).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16):
            readings = self.net(rough.contiguous(memory_format=torch.channels_last))
        wanted = truth(indices.tolist()).to(self._device)
        right = {
            name: (reading.argmax(1) == wanted[:, place]).float().mean().item()
            for place, (name, reading) in enumerate(zip(VALUES, readings, strict=True))
            if name in ("mouth", "pattern")
        }
        return misread(readings, wanted).mean(), right


@dataclass(frozen=True, slots=True)
class MakeCriticTask:
    """Makes the task in whatever process needs it."""

    recipe: Recipe
    work: Path
    device: str

    def __call__(self) -> CriticTask:
        """Return a new task; its weights are the same each time."""
        pictures = Pictures(self.work / PICTURES, self.recipe.drawn, self.recipe.per_file)
        latents = Latents(self.work / LATENTS, pictures, self.recipe.per_file)
        return CriticTask(self.recipe, latents, torch.device(self.device))


def train_critic(recipe: Recipe, work: Path, device: str, workers: int) -> bool:
    """Train until the plan is done (True) or until asked to stop (False)."""
    make = MakeCriticTask(recipe, work, device)
    return Trainer(make, recipe.critic, work / FOLDER, "critic", workers).run()


def load_critic(work: Path, channels: int, side: int) -> Critic | None:
    """Return the trained critic, or None where there was none."""
    state = load_checkpoint(work / FOLDER)
    if state is None:
        return None
    critic = Critic(channels, side)
    critic.load_state_dict(state["averaged"])
    return critic.eval().requires_grad_(False)
