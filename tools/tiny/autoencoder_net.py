"""The autoencoder as a network: its shape, its loss and how its latents are brought to mean 0 and deviation 1."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch.nn import functional

from tools.tiny.recipe import AutoencoderShape

# Enough that latents a little off still give the same picture: what the UNet makes is always a little off.
DIVERGENCE: Final = 4e-3
EDGES: Final = 1.0


def make_autoencoder(shape: AutoencoderShape, side: int) -> Any:
    """Return a new autoencoder; its random weights follow torch's own state."""
    return AutoencoderKL(
        block_out_channels=shape.widths,
        down_block_types=("DownEncoderBlock2D",) * len(shape.widths),
        up_block_types=("UpDecoderBlock2D",) * len(shape.widths),
        layers_per_block=1,
        latent_channels=shape.latent_channels,
        norm_num_groups=shape.groups,
        mid_block_add_attention=False,
        sample_size=side,
        scaling_factor=1.0,
        force_upcast=False,
    )


def to_signal(pixels: torch.Tensor) -> torch.Tensor:
    """Turn bytes of (picture, row, column, channel) into floats from -1 to 1, channels first."""
    return (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def decibels(square: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error of signals from -1 to 1."""
    return -10 * math.log10(max(square, 1e-12) / 4)


def autoencoder_loss(net: Any, signal: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
    """Return what the autoencoder is to lower, and its parts as plain numbers."""
    with torch.autocast(signal.device.type, torch.bfloat16):
        found = net.encode(signal).latent_dist
        latents = found.mean + found.std * noise.to(found.mean.dtype)
        decoded = net.decode(latents).sample
    alike, square = likeness(decoded.float(), signal)
    mean, spread = found.mean.float(), found.logvar.float()
    divergence = 0.5 * (mean * mean + spread.exp() - 1 - spread).mean()
    figures = {"psnr": decibels(square), "kl": divergence.item()}
    return alike + DIVERGENCE * divergence, figures


def likeness(decoded: torch.Tensor, signal: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return how far a picture is from what it is to be, its edges too, and the mean squared error as a number."""
    away = (decoded - signal).abs().mean()
    square = functional.mse_loss(decoded, signal)
    rows = (decoded.diff(dim=-1) - signal.diff(dim=-1)).abs().mean()
    columns = (decoded.diff(dim=-2) - signal.diff(dim=-2)).abs().mean()
    return away + 2 * square + EDGES * (rows + columns), square.item()
