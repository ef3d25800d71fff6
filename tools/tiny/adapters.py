"""Adapters of our own for the embedded model: a way to look each, trained upon frozen weights, written as LoRA or LoKr.

What is trained is a change of each matrix and convolution of the UNet, of two kinds. LoCon: up @ down, of a small rank
(LoRA, arXiv 2106.09685, over convolutions too). LoKr: Kronecker's product of two (LyCORIS, arXiv 2309.14859). Files
bear the names of kohya's trainers, so that any server reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize

from tools.tiny.autoencoder import PICTURES, halved
from tools.tiny.autoencoder_net import to_signal
from tools.tiny.finishing import NotYet, finished_autoencoder
from tools.tiny.painter import FOLDER as PAINTER
from tools.tiny.painter import PainterTask
from tools.tiny.pictures import Pictures
from tools.tiny.progress import Progress
from tools.tiny.recipe import Plan, Recipe
from tools.tiny.sheets import to_pixels
from tools.tiny.styles import STYLES
from tools.tiny.training import Trainer, load_checkpoint

FOLDER: Final = "adapters"
STYLED: Final = "latents.npy"
AT_ONCE: Final = 25
PREFIX: Final = "lora_unet_"
NARROWEST: Final = 16


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one adapter is to be: its kind, and for a LoCon its rank, for a LoKr the side of its first factor."""

    kind: str
    size: int
    trigger: str


LESSONS: Final[Mapping[str, Lesson]] = MappingProxyType(
    {
        "ink": Lesson("locon", 8, "ink drawing"),
        "synthwave": Lesson("lokr", 4, "synthwave"),
        "watercolour": Lesson("locon", 8, "watercolour"),
    }
)


class LowRank(nn.Module):
    """A change of so small a rank; nothing at first, for `up` is all zeros."""

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, *weight.shape[1:]) / weight[0].numel() ** 0.5)
        self.up = nn.Parameter(torch.zeros(len(weight), rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the changed weight."""
        return weight + (self.up @ self.down.flatten(1)).view_as(weight)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield what a file holds of it."""
        rank, spatial = len(self.down), self.down.ndim - 2
        yield "lora_down.weight", self.down
        yield "lora_up.weight", self.up.view(*self.up.shape, *(1,) * spatial)
        yield "alpha", torch.tensor(float(rank))  # over the rank: the factors count as they are


class Kronecker(nn.Module):
    """A change that is Kronecker's product of two; nothing at first, for the second is all zeros."""

    def __init__(self, weight: torch.Tensor, side: int) -> None:
        super().__init__()
        rows, columns, *spatial = weight.shape
        left = [side if size % side == 0 else 1 for size in (rows, columns)]
        self.first = nn.Parameter(torch.randn(*left))
        self.second = nn.Parameter(torch.zeros(rows // left[0], columns // left[1], *spatial))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the changed weight."""
        first = self.first.view(*self.first.shape, *(1,) * (self.second.ndim - 2))
        return weight + torch.kron(first, self.second)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield what a file holds of it; two whole factors have no rank, and so no alpha."""
        yield "lokr_w1", self.first
        yield "lokr_w2", self.second


KINDS: Final[Mapping[str, type[LowRank] | type[Kronecker]]] = MappingProxyType({"locon": LowRank, "lokr": Kronecker})


class Adapter(nn.Module):
    """The changes of one UNet, by the names of what they change; they act from the moment that they are made."""

    def __init__(self, unet: nn.Module, lesson: Lesson) -> None:
        super().__init__()
        self.names = [name for name, module in unet.named_modules() if _is_changed(name, module)]
        self.changes = nn.ModuleList()
        for name in self.names:
            module = unet.get_submodule(name)
            change = KINDS[lesson.kind](module.get_parameter("weight").detach(), lesson.size)
            self.changes.append(change)
            parametrize.register_parametrization(module, "weight", change)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what the file holds, in halves."""
        found = {}
        for name, change in zip(self.names, self.changes, strict=True):
            assert isinstance(change, LowRank | Kronecker)
            for ending, tensor in change.tensors():
                found[f"{PREFIX}{name.replace('.', '_')}.{ending}"] = tensor.detach().half().contiguous()
        return found


def _is_changed(name: str, module: nn.Module) -> bool:
    inside = any(part in name for part in ("down_blocks", "mid_block", "up_blocks")) and "time_emb" not in name
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return False
    return inside and min(module.weight.shape[:2]) >= NARROWEST


class AdapterTask:
    """One batch: creatures in the adapter's style, the trigger words before every caption."""

    def __init__(self, recipe: Recipe, work: Path, name: str, device: torch.device) -> None:
        lesson = LESSONS[name]
        plan = replace(recipe, painter=recipe.adapter)
        self._painter = PainterTask(plan, Styled(work, name), work, device, lesson.trigger, judged=False)
        state = load_checkpoint(work / PAINTER)
        if state is None:
            raise NotYet("There is no UNet yet: train it first.")
        # Upon what is shipped, which is rounded to halves.
        shipped = {key: value.half().float() for key, value in state["averaged"].items()}
        self._painter.net.load_state_dict(shipped)
        self._painter.net.requires_grad_(False)
        torch.manual_seed(recipe.adapter.seed)
        self.net: nn.Module = Adapter(self._painter.net.get_submodule("unet"), lesson).to(device)

    def unet_weights(self) -> dict[str, torch.Tensor]:
        """Return the UNet's weights as the adapter makes them, by the names that they have without it."""
        assert isinstance(self.net, Adapter)
        unet = self._painter.net.get_submodule("unet")
        found = {key: value for key, value in unet.state_dict().items() if ".parametrizations." not in key}
        for name in self.net.names:
            found[f"{name}.weight"] = unet.get_submodule(name).weight
        return {key: value.detach().clone() for key, value in found.items()}

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss on one share of a fresh batch."""
        return self._painter.foreseen(step, share, shares)[0].loss, {}


@dataclass(frozen=True, slots=True)
class Styled:
    """The latents of one style, by the same numbers as those of the drawn pictures, as far as they go."""

    work: Path
    style: str

    def all(self) -> torch.Tensor:
        """Return all as halves."""
        return torch.from_numpy(np.load(self.work / FOLDER / self.style / STYLED))


def make_styled(recipe: Recipe, work: Path, style: str) -> None:
    """Give the first pictures this style and encode them, unless that is done."""
    path = work / FOLDER / style / STYLED
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    net: Any = finished_autoencoder(recipe, work)
    pictures = Pictures(work / PICTURES, recipe.drawn, recipe.per_file)
    progress, found = Progress(style, recipe.styled), []
    for start in range(0, recipe.styled, AT_ONCE):
        indices = range(start, min(start + AT_ONCE, recipe.styled))
        plain = to_pixels(halved(to_signal(torch.from_numpy(pictures.take(indices)))))
        styled = np.stack([STYLES[style](one) for one in plain])
        with torch.no_grad():
            found.append(net.encode(to_signal(torch.from_numpy(styled))).latent_dist.mean.half().numpy())
        progress.tell(indices.stop)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, np.concatenate(found))
    partial.replace(path)


@dataclass(frozen=True, slots=True)
class MakeAdapterTask:
    """Makes the task in whatever process needs it."""

    recipe: Recipe
    work: Path
    name: str
    device: str

    def __call__(self) -> AdapterTask:
        """Return a new task; its weights are the same each time."""
        return AdapterTask(self.recipe, self.work, self.name, torch.device(self.device))


def train_adapter(recipe: Recipe, work: Path, name: str, device: str, workers: int) -> bool:
    """Train one adapter until its plan is done (True) or until asked to stop (False), and write its file."""
    make_styled(recipe, work, name)
    plan: Plan = recipe.adapter
    make = MakeAdapterTask(recipe, work, name, device)
    if not Trainer(make, plan, work / FOLDER / name, name, workers).run():
        return False
    write_adapter(recipe, work, name)
    return True


def write_adapter(recipe: Recipe, work: Path, name: str) -> Path:
    """Write what was trained of an adapter as `<name>.safetensors` into the work folder, and return its path."""
    state = load_checkpoint(work / FOLDER / name)
    if state is None:
        raise NotYet(f"There is no adapter {name} yet: train it first.")
    task = AdapterTask(recipe, work, name, torch.device("cpu"))
    task.net.load_state_dict(state["averaged"])
    assert isinstance(task.net, Adapter)
    lesson = LESSONS[name]
    metadata = {
        "modelspec.title": name,
        "modelspec.license": "MIT",
        "ss_base_model_version": "minimon-tiny",
        "ss_network_module": "lycoris.kohya" if lesson.kind == "lokr" else "networks.lora",
        "modelspec.trigger_phrase": lesson.trigger,
    }
    path = work / FOLDER / f"{name}.safetensors"
    save_file(task.net.tensors(), path, metadata)
    return path
