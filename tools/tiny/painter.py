"""Trains text encoders and UNet together on latents and captions, new captions in every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch

from tools.tiny.ahead import Ahead, Here, Written
from tools.tiny.autoencoder import PICTURES
from tools.tiny.critic import PULLS, chosen, load_critic, misread
from tools.tiny.latents import FOLDER as LATENTS
from tools.tiny.latents import Latents
from tools.tiny.painter_net import TIMES, Foreseen, Painter, foresee, make_scheduler
from tools.tiny.pictures import Pictures
from tools.tiny.reader import read_words, truth
from tools.tiny.recipe import Recipe
from tools.tiny.tokenizer import load_tokenizer
from tools.tiny.training import Trainer, chance_of

FOLDER: Final = "painter"
TOKENIZER: Final = "tokenizer"
UNSPOKEN: Final = 0.1
SIDES: Final = (64, 1024)
# What a misread trait weighs beside the squared error: at that, both pull about as hard on the weights.
MISREAD: Final = 0.01


class HasLatents(Protocol):
    """The latents of creatures, by their numbers."""

    def all(self) -> torch.Tensor:
        """Return all as halves, [creatures, channels, side, side]."""


class PainterTask:
    """One batch: creatures at random, a new caption for each, times spread evenly."""

    def __init__(self, recipe: Recipe, latents: HasLatents, work: Path, device: torch.device,
                 trigger: str = "", *, judged: bool = True) -> None:  # fmt: skip
        tokenizer, words = work / TOKENIZER, read_words(work)
        torch.manual_seed(recipe.painter.seed)
        self._recipe, self._device = recipe, device
        self._latents = latents.all().to(device)
        self._signal_shares = make_scheduler().alphas_cumprod.float().to(device)
        seed = recipe.painter.seed
        self._writer: Here | Ahead = Here(tokenizer, seed, trigger)
        if device.type != "cpu":
            self._writer = Ahead(tokenizer, seed, trigger, lambda step: self._indices(chance_of(step, seed)).tolist())
        net: Any = Painter(len(load_tokenizer(tokenizer)), recipe.painter_shape, self._latents.shape[-1])
        if words is not None:
            net.words.load_state_dict(words)
        critic = load_critic(work, *self._latents.shape[1:3]) if judged else None
        self._critic = None if critic is None else critic.to(device)
        self.net: torch.nn.Module = net.to(device=device, memory_format=torch.channels_last)

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss on one share of a fresh batch."""
        foreseen, indices, written, spoken = self.foreseen(step, share, shares)
        if self._critic is None:
            return foreseen.loss, {}
        missed = self._misread(foreseen, indices, written, spoken)
        return foreseen.loss + MISREAD * missed, {"squared": foreseen.loss.item(), "misread": missed.item()}

    def foreseen(self, step: int, share: int, shares: int) -> tuple[Foreseen, list[int], Written, torch.Tensor]:
        """Return what the UNet foresees of one share of a fresh batch, whose creatures, and 0 where words are out."""
        plan, device = self._recipe.painter, self._device
        chance = chance_of(step, plan.seed)
        count, mine = plan.batch, slice(share, None, shares)
        indices = self._indices(chance)[mine]
        spread = (torch.rand(count, generator=chance) + torch.arange(count)) / count
        spoken = (torch.rand(count, generator=chance) >= UNSPOKEN).float()
        # It draws at one size, whatever size it is told of: so any is told.
        sides = torch.randint(SIDES[0], SIDES[1] + 1, (count,), generator=chance).float()
        there = torch.Generator(device).manual_seed(plan.seed * 1_000_000_007 + step)
        noise = torch.randn((count, *self._latents.shape[1:]), generator=there, device=device)
        written = self._writer.written(step, indices.tolist())
        batch = {
            "latents": self._latents[indices.to(device)].float(),
            "noise": noise[mine],
            "times": (spread * TIMES).long().clamp(0, TIMES - 1)[mine],
            "rows": written.rows,
            "spoken": spoken[mine],
            "sides": sides[mine],
        }
        batch = {name: value.to(device) for name, value in batch.items()}
        return foresee(self.net, batch, self._signal_shares), indices.tolist(), written, batch["spoken"]

    def _misread(self, foreseen: Foreseen, indices: list[int], written: Written, spoken: torch.Tensor) -> torch.Tensor:
        """Return how badly the critic reads what is foreseen: less of what is foreseen from noise, nothing wordless."""
        assert self._critic is not None
        with torch.autocast(self._device.type, torch.bfloat16):
            readings = self._critic(foreseen.latents)
        wanted = chosen(readings, truth(indices).to(self._device), written.named.to(self._device))
        each = misread(readings, wanted, PULLS)
        return (each * foreseen.share.sqrt() * spoken).mean()

    def _indices(self, chance: torch.Generator) -> torch.Tensor:
        return torch.randint(0, len(self._latents), (self._recipe.painter.batch,), generator=chance)


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
        return PainterTask(recipe, latents, self.work, torch.device(self.device))


def train_painter(recipe: Recipe, work: Path, device: str, workers: int) -> bool:
    """Train until the plan is done (True) or until asked to stop (False)."""
    make = MakePainterTask(recipe, work, device)
    return Trainer(make, recipe.painter, work / FOLDER, "painter", workers).run()
