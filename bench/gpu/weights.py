"""Networks of given sizes with random normal weights, made where they compute: no file is read. Measures nothing.

Speed follows from shapes, but clocks and power follow from values: zeros run faster, and numbers that are none or
denormal cost less or more. So weights are normal and keep the size of what passes through them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from bench.errors import BenchError
from bench.gpu.sizes import Sizes

NEAR_ONE: Final = 0.02  # how far the scales of norms lie around 1, and biases around 0


@dataclass(frozen=True)
class Networks:
    """The networks of one model, on one device."""

    unet: Any
    vae: Any
    draft: Any
    text_encoder: Any
    text_encoder_2: Any


def build(sizes: Sizes, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Networks:
    """Return the networks of `sizes` with weights that follow from `seed` (and the device); on `meta` without any."""
    clip: Any = CLIPTextModel
    projected: Any = CLIPTextModelWithProjection
    unet: Any = UNet2DConditionModel
    vae: Any = AutoencoderKL
    with _made_on(device, dtype):
        made = Networks(
            unet(**sizes.unet),
            vae(**sizes.vae),
            AutoencoderTiny(**sizes.draft),
            clip(CLIPTextConfig(**sizes.text_encoder)),
            projected(CLIPTextConfig(**sizes.text_encoder_2)),
        )
    numbers = None if device.type == "meta" else torch.Generator(device).manual_seed(seed)
    for network in (made.unet, made.vae, made.draft, made.text_encoder, made.text_encoder_2):
        if network.dtype != dtype:  # the library warns of a cast, even of one that changes nothing
            network.to(dtype)
        network.eval().requires_grad_(False)
        if numbers is not None:
            fill(network, numbers)
    return made


@torch.no_grad()
def fill(network: torch.nn.Module, numbers: torch.Generator) -> None:
    """Give every parameter normal numbers: matrices a variance of 1 / fan-in, so that what passes keeps its size."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            fan_in = parameter.numel() // parameter.shape[0]
            parameter.normal_(0.0, fan_in**-0.5, generator=numbers)
        else:
            parameter.normal_(1.0 if name.endswith("weight") else 0.0, NEAR_ONE, generator=numbers)


def check(what: str, found: Any) -> None:
    """Raise `BenchError` unless what was computed is numbers, not all of them the same."""
    for tensor in found if isinstance(found, tuple) else (found,):
        values = tensor.float()
        if not bool(torch.isfinite(values).all()):
            raise BenchError(f"{what}: what came out is not a number; its time would say nothing")
        if not bool(values.std() > 0):
            raise BenchError(f"{what}: what came out is all the same; its time would say nothing")


@contextmanager
def _made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)
