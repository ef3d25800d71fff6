"""Latents become the library's own pixels, and previews that look like them, whatever the autoencoder."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from minimon_server.engines.sdxl_decoding import Previews, decode
from tests.small_pipeline import autoencoder, plainly_loaded


def latents(side: int = 16, channels: int = 4, patch: int = 4) -> torch.Tensor:
    """Return random latents of patches, as pictures have areas."""
    generator = torch.Generator().manual_seed(3)
    few = torch.randn((1, channels, side // patch, side // patch), generator=generator)
    return few.repeat_interleave(patch, 2).repeat_interleave(patch, 3)


@pytest.mark.parametrize("normal", [False, True])
def test_pixels_are_the_librarys_own(models: Path, normal: bool) -> None:
    pipeline = plainly_loaded(models / "small")
    if normal:
        pipeline.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.0, 0.5, 2.0, 1.5])
    drawn = pipeline(
        "a cat",
        latents=latents(),
        width=64,
        height=64,
        num_inference_steps=1,
        guidance_scale=1.0,
        output_type="latent",
    ).images
    theirs = pipeline(
        "a cat", latents=latents(), width=64, height=64, num_inference_steps=1, guidance_scale=1.0
    ).images[0]
    pixels, decoded_in = decode(pipeline.vae, drawn)
    assert np.array_equal(pixels, np.asarray(theirs))
    assert decoded_in == "float32"


class PlainAutoencoder:
    """Decodes every latent to one colour, by a map that nobody was told."""

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(latent_channels=6, scaling_factor=0.7, latents_mean=None, latents_std=None)

    def __init__(self) -> None:
        self._map = torch.randn((6, 3), generator=torch.Generator().manual_seed(5)) * 0.1

    def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        assert not return_dict
        colours = torch.einsum("bchw,cr->brhw", latents, self._map) + 0.1
        return (colours.repeat_interleave(8, 2).repeat_interleave(8, 3),)


def test_colours_that_nobody_knows_are_measured() -> None:
    vae = PlainAutoencoder()
    small = latents(channels=6) / latents(channels=6).std()
    preview = np.asarray(Image.open(io.BytesIO(Previews(vae).picture(small))), np.float64)
    pixels, _ = decode(vae, small)
    assert np.abs(preview - pixels[::8, ::8]).max() <= 1


def test_a_preview_goes_with_the_picture(models: Path) -> None:
    # Random weights decode to anything but a linear map of the latents: what follows them is still to be seen.
    vae = plainly_loaded(models / "small").vae
    preview = np.asarray(Image.open(io.BytesIO(Previews(vae).picture(latents()))), np.float64)
    pixels, _ = decode(vae, latents())
    small = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BOX), np.float64)
    assert preview.shape == (16, 16, 3)
    assert np.corrcoef(preview.ravel(), small.ravel())[0, 1] > 0.3


def test_sdxls_own_colours_are_known_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = autoencoder()
    vae.register_to_config(scaling_factor=0.13025)
    monkeypatch.setattr(vae, "decode", None)
    plain = Previews(vae)
    one = torch.zeros((1, 4, 8, 8))
    assert _colour(plain, one) == (150, 140, 130)
    one[:, 0] = 1.0
    assert _colour(plain, one) == (210, 200, 190)  # the first channel is lightness
    one[:, 0], one[:, 1] = 0.0, 1.0
    assert _colour(plain, one) == (90, 135, 140)  # the second goes from red to cyan


def _colour(previews: Previews, one: torch.Tensor) -> Any:
    return Image.open(io.BytesIO(previews.picture(one))).getpixel((0, 0))


@pytest.mark.parametrize(("height", "width"), [(128, 128), (256, 96), (130, 300), (1, 1), (8, 1024)])
def test_a_preview_is_small_and_has_the_pictures_form(height: int, width: int) -> None:
    vae = autoencoder()
    vae.register_to_config(scaling_factor=0.13025)
    large = torch.randn((1, 4, height, width)) * 14
    opened = Image.open(io.BytesIO(Previews(vae).picture(large)))
    assert max(opened.size) <= 128
    if min(height, width) > 64:
        assert abs(opened.width / opened.height - width / height) < 0.05
