"""The finished autoencoder: averaged weights, latents of mean 0 and deviation 1, its measure. Trains nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from tools.tiny.autoencoder import FOLDER, halved
from tools.tiny.autoencoder_net import decibels, make_autoencoder, to_signal
from tools.tiny.creatures import FIRST_TEST_INDEX, unseen_traits
from tools.tiny.pictures import draw_creature
from tools.tiny.recipe import Recipe
from tools.tiny.training import load_checkpoint

FINISHED: Final = "finished.pt"
TEST_PICTURES: Final = 64
AT_ONCE: Final = 16


class NotYet(Exception):
    """A stage needs what an earlier one makes."""


def unseen_signal(count: int, side: int, half: bool = True) -> torch.Tensor:
    """Return drawn pictures that no stage is trained on, at half the side they are drawn at or at all of it."""
    pixels = [draw_creature(unseen_traits(index), FIRST_TEST_INDEX + index, side) for index in range(count)]
    signal = to_signal(torch.from_numpy(np.stack(pixels)))
    return halved(signal) if half else signal


def finish_autoencoder(recipe: Recipe, work: Path, sample: torch.Tensor) -> float:
    """Write the finished weights; return the decibels on `sample`, pictures it has not seen."""
    state = load_checkpoint(work / FOLDER)
    if state is None:
        raise NotYet("There is no autoencoder yet: train it first.")
    net = make_autoencoder(recipe.autoencoder_shape, recipe.side)
    net.load_state_dict(state["averaged"])
    net.eval().to(memory_format=torch.channels_last)
    level_latents(net, sample)
    torch.save(net.state_dict(), work / FOLDER / FINISHED)
    return measure(net, sample)


def finished_autoencoder(recipe: Recipe, work: Path) -> Any:
    """Return the autoencoder that `finish_autoencoder` wrote."""
    path = work / FOLDER / FINISHED
    if not path.exists():
        raise NotYet("There is no finished autoencoder yet: train it first.")
    net = make_autoencoder(recipe.autoencoder_shape, recipe.side)
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


@torch.no_grad()
def level_latents(net: Any, sample: torch.Tensor) -> None:
    """Fold mean and deviation of the latents into the convolutions beside them, so that the scaling factor is 1."""
    found = [net.encode(part).latent_dist for part in torch.split(sample, AT_ONCE)]
    means = torch.cat([one.mean for one in found])
    middle = means.mean((0, 2, 3))
    # With what the encoder is unsure of: a channel that says little is to stay small, not to be blown up.
    unsure = torch.cat([one.var for one in found]).mean((0, 2, 3))
    spread = (means.var((0, 2, 3)) + unsure).sqrt()
    count = len(middle)
    into, out = net.quant_conv, net.post_quant_conv
    into.bias[:count] -= middle
    into.bias[:count] /= spread
    into.weight[:count] /= spread.view(-1, 1, 1, 1)
    into.bias[count:] -= 2 * spread.log()  # the logarithms of the variances
    out.bias += out.weight[:, :, 0, 0] @ middle
    out.weight *= spread.view(1, -1, 1, 1)


@torch.no_grad()
def measure(net: Any, sample: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio of what comes back from latents, in decibels."""
    return decibels(float((reconstruct(net, sample) - sample).square().mean()))


@torch.no_grad()
def reconstruct(net: Any, sample: torch.Tensor) -> torch.Tensor:
    """Return the pictures as they come back from their latents."""
    decoded = [
        net.decode(net.encode(part).latent_dist.mean).sample.clamp(-1, 1) for part in torch.split(sample, AT_ONCE)
    ]
    return torch.cat(decoded)
