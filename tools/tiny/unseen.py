"""The UNet's loss on creatures it never saw, always with the same noise: what trainings are compared by."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from tools.tiny.captions import caption
from tools.tiny.creatures import unseen_traits
from tools.tiny.finishing import NotYet, finished_autoencoder, unseen_signal
from tools.tiny.painter import FOLDER, TOKENIZER
from tools.tiny.painter_net import TIMES, Painter, foresee, make_scheduler
from tools.tiny.recipe import Recipe
from tools.tiny.tokenizer import load_tokenizer, token_rows
from tools.tiny.training import load_checkpoint

COUNT: Final = 240
AT_ONCE: Final = 24


@torch.no_grad()
def unseen_loss(recipe: Recipe, work: Path, weights: str = "averaged", count: int = COUNT) -> float:
    """Return the mean loss of the last checkpoint's weights, times spread evenly."""
    state = load_checkpoint(work / FOLDER)
    if state is None:
        raise NotYet("There is no UNet yet: train it first.")
    tokenizer = load_tokenizer(work / TOKENIZER)
    net: Any = Painter(len(tokenizer), recipe.painter_shape, recipe.side // recipe.autoencoder_shape.factor)
    net.load_state_dict(state[weights])
    net.eval().to(memory_format=torch.channels_last)
    shares = make_scheduler().alphas_cumprod.float()
    latents = _latents(recipe, work, count)
    losses = []
    for start in range(0, count, AT_ONCE):
        batch = _batch(latents[start : start + AT_ONCE], start, count, tokenizer, recipe.drawn)
        losses.append(foresee(net, batch, shares).loss.item() * len(batch["latents"]))
    return sum(losses) / count


def _latents(recipe: Recipe, work: Path, count: int) -> torch.Tensor:
    net = finished_autoencoder(recipe, work)
    signal = unseen_signal(count, recipe.drawn)
    return torch.cat([net.encode(part).latent_dist.mean for part in torch.split(signal, AT_ONCE)])


def _batch(latents: torch.Tensor, start: int, count: int, tokenizer: Any, side: int) -> dict[str, torch.Tensor]:
    indices = range(start, start + len(latents))
    texts = [caption(unseen_traits(index), random.Random(f"unseen/{index}")).text for index in indices]
    # Neighbours among the creatures are far apart in time, so that any part of them covers all times.
    spread = np.array([(index * 0.61803398875) % 1 for index in indices])
    return {
        "latents": latents,
        "noise": torch.randn(latents.shape, generator=torch.Generator().manual_seed(start)),
        "times": torch.from_numpy((spread * TIMES).astype(np.int64)),
        "rows": torch.tensor(token_rows(tokenizer, texts)),
        "spoken": torch.ones(len(latents)),
        "sides": torch.full((len(latents),), float(side)),
    }
