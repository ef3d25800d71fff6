"""The judge: a small network that tells each trait from a picture, trained on drawn pictures alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from tools.artist.traits import TRAIT_KINDS, Traits
from tools.tiny.autoencoder import PICTURES, halved
from tools.tiny.autoencoder_net import to_signal
from tools.tiny.creatures import FIRST_TEST_INDEX, any_traits, training_traits
from tools.tiny.finishing import NotYet
from tools.tiny.pictures import Pictures, draw_creature
from tools.tiny.recipe import Recipe
from tools.tiny.training import Trainer, chance_of, load_checkpoint

FOLDER: Final = "classifier"
WIDTHS: Final = (32, 48, 80, 128, 192)
GROUPS: Final = 8
SHIFT: Final = 4
NOISE: Final = 0.03
# Stripes and spots are a shade apart from the coat: weighed like the rest, they were not learnt at all.
WEIGHTS: Final[Mapping[str, float]] = MappingProxyType({"pattern": 3.0, "rarity": 2.0})
TEST_PICTURES: Final = 600


class Judge(nn.Module):
    """Convolutions that halve the side five times, then a choice for each trait."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, 2, 1), nn.GroupNorm(GROUPS, width), nn.SiLU()]
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.GroupNorm(GROUPS, width), nn.SiLU()]
            before = width
        self.body = nn.Sequential(*layers)
        self.mix = nn.Linear(before * 16, 384)
        self.choices = nn.ModuleDict({name: nn.Linear(384, len(kind)) for name, kind in TRAIT_KINDS.items()})

    def forward(self, signal: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits of each trait's values."""
        seen = functional.adaptive_avg_pool2d(self.body(signal), 4).flatten(1)
        mixed = functional.silu(self.mix(seen))
        return {name: choice(mixed) for name, choice in self.choices.items()}


def labels(traits: Traits) -> dict[str, int]:
    """Return the number of each trait's value."""
    return {name: list(kind).index(getattr(traits, name)) for name, kind in TRAIT_KINDS.items()}


class JudgeTask:
    """Drawn pictures, shifted, dimmed and a little blurred: what is judged is never as sharp as what is drawn."""

    def __init__(self, recipe: Recipe, pictures: Pictures, device: torch.device) -> None:
        torch.manual_seed(recipe.classifier.seed)
        self._recipe, self._pictures, self._device = recipe, pictures, device
        self._count = pictures.count()
        net: Any = Judge()
        self.net: nn.Module = net.to(device=device, memory_format=torch.channels_last)

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss on one share of a fresh batch."""
        plan = self._recipe.classifier
        chance = chance_of(step, plan.seed)
        indices = torch.randint(0, self._count, (plan.batch,), generator=chance).tolist()[share::shares]
        signal = halved(to_signal(torch.from_numpy(self._pictures.take(indices)).to(self._device)))
        own = chance_of(step * shares + share, plan.seed + 1)
        signal = _roughen(signal, own)
        with torch.autocast(self._device.type, torch.bfloat16):
            found = self.net(signal)
        known = [labels(training_traits(index)) for index in indices]
        losses = [
            WEIGHTS.get(name, 1.0)
            * functional.cross_entropy(found[name].float(), torch.tensor([one[name] for one in known]).to(self._device))
            for name in TRAIT_KINDS
        ]
        return torch.stack(losses).sum(), {}


def _roughen(signal: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    down, across = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=chance).tolist()
    signal = functional.pad(signal, (SHIFT,) * 4, mode="replicate")
    side = signal.shape[-1] - 2 * SHIFT
    signal = signal[..., SHIFT + down : SHIFT + down + side, SHIFT + across : SHIFT + across + side]
    if float(torch.rand((), generator=chance)) < 0.5:
        blurred = functional.avg_pool2d(functional.pad(signal, (1, 1, 1, 1), mode="replicate"), 3, 1)
        signal = signal.lerp(blurred, float(torch.rand((), generator=chance)))
    noise = torch.randn(signal.shape, generator=chance).to(signal.device)
    return (signal + NOISE * noise).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class MakeJudgeTask:
    """Makes the task in whatever process needs it."""

    recipe: Recipe
    work: Path
    device: str

    def __call__(self) -> JudgeTask:
        """Return a new task; its weights are the same each time."""
        pictures = Pictures(self.work / PICTURES, self.recipe.drawn, self.recipe.per_file)
        return JudgeTask(self.recipe, pictures, torch.device(self.device))


def train_judge(recipe: Recipe, work: Path, device: str, workers: int) -> bool:
    """Train until the plan is done (True) or until asked to stop (False)."""
    make = MakeJudgeTask(recipe, work, device)
    return Trainer(make, recipe.classifier, work / FOLDER, "classifier", workers).run()


def load_judge(work: Path) -> Judge:
    """Return the trained judge."""
    state = load_checkpoint(work / FOLDER)
    if state is None:
        raise NotYet("There is no classifier yet: train it first.")
    judge = Judge()
    judge.load_state_dict(state["averaged"])
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def judged(judge: Judge, pixels: NDArray[np.uint8], at_once: int = 32) -> dict[str, list[str]]:
    """Return for each trait the word of the value that each picture shows, pictures of any one side."""
    found: dict[str, list[str]] = {name: [] for name in TRAIT_KINDS}
    for start in range(0, len(pixels), at_once):
        signal = to_signal(torch.from_numpy(pixels[start : start + at_once]))
        while signal.shape[-1] > 128:
            signal = halved(signal)
        for name, logits in judge(signal).items():
            words = [value.value for value in TRAIT_KINDS[name]]
            found[name] += [words[index] for index in logits.argmax(1).tolist()]
    return found


def drawn_for_test(count: int, side: int) -> tuple[NDArray[np.uint8], list[Traits]]:
    """Return drawn pictures that neither the judge nor the model has seen, and their traits."""
    traits = [any_traits(FIRST_TEST_INDEX + index) for index in range(count)]
    pixels = [draw_creature(one, FIRST_TEST_INDEX + index, side) for index, one in enumerate(traits)]
    return np.stack(pixels), traits
