"""From latents to pixels: the autoencoder, and a small preview without it. Never returns a picture that is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from minimon_server.engines import png
from minimon_server.engines.messages import EngineFault

if TYPE_CHECKING:
    from numpy.typing import NDArray

Decoded = tuple["NDArray[np.uint8]", str]  # pixels, and in which numbers they were decoded
PREVIEW_SIDE: Final = 128
# What each channel of SDXL's own latents adds to red, green and blue, and what grey is; published with the library
# (docs/source/en/using-diffusers/callback.md), for latents as the UNet sees them.
SDXL_SCALING: Final = 0.13025
SDXL_COLOURS: Final = ((60.0, 60.0, 60.0), (-60.0, -5.0, 10.0), (25.0, 15.0, -5.0), (-70.0, -50.0, -35.0))
SDXL_GREY: Final = (150.0, 140.0, 130.0)


@torch.no_grad()
def decode(vae: Any, latents: torch.Tensor) -> Decoded:
    """Return the pixels (height x width x 3) of one picture's latents, and in which numbers they were decoded.

    What comes out black or not a number is decoded again in 32-bit floats; raise `EngineFault` if that does not help.
    """
    own: torch.dtype = vae.dtype
    pixels = _pixels(vae, latents.to(own))
    if pixels is None and own != torch.float32:
        vae.to(dtype=torch.float32)
        try:
            pixels = _pixels(vae, latents.float())
        finally:
            vae.to(dtype=own)  # exact: every value came from there
        own = torch.float32
    if pixels is None:
        raise EngineFault("The model gave a black picture, or none at all; nothing was kept.")
    return pixels, str(own).removeprefix("torch.")


@torch.no_grad()
def decode_together(vae: Any, latents: Sequence[torch.Tensor]) -> list[Decoded | EngineFault]:
    """Return for each picture what `decode` does, all at once; a picture that failed is decoded again alone."""
    if len(latents) == 1:
        return [_decoded(vae, latents[0])]
    images: torch.Tensor = vae.decode(_unscaled(vae, torch.cat(list(latents)).to(vae.dtype)), return_dict=False)[0]
    dtype = str(vae.dtype).removeprefix("torch.")
    shades = [_shades(image) for image in images.split_with_sizes([1] * len(latents))]
    return [
        (pixels, dtype) if pixels is not None else _decoded(vae, one)
        for pixels, one in zip(shades, latents, strict=True)
    ]


def _decoded(vae: Any, latents: torch.Tensor) -> Decoded | EngineFault:
    try:
        return decode(vae, latents)
    except EngineFault as fault:
        return fault


def _pixels(vae: Any, latents: torch.Tensor) -> NDArray[np.uint8] | None:
    image: torch.Tensor = vae.decode(_unscaled(vae, latents), return_dict=False)[0]
    return _shades(image)


def _shades(image: torch.Tensor) -> NDArray[np.uint8] | None:
    if not bool(torch.isfinite(image).all()):
        return None
    shades = (image[0] * 0.5 + 0.5).clamp(0, 1).float().mul(255).round().to(torch.uint8)
    pixels: NDArray[np.uint8] = shades.permute(1, 2, 0).cpu().numpy()
    return pixels if pixels.any() else None


def _unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    # A draft decoder has neither: it takes latents as the UNet sees them (its scaling factor is 1).
    mean, deviation = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    scale = float(vae.config.scaling_factor)
    if mean is None or deviation is None:
        return latents / scale
    mean = torch.tensor(mean).view(1, -1, 1, 1).to(latents)
    deviation = torch.tensor(deviation).view(1, -1, 1, 1).to(latents)
    return latents * deviation / scale + mean


class Previews:
    """Small PNG pictures of latents on their way, by one linear map from channels to colours."""

    def __init__(self, vae: Any) -> None:
        """SDXL's own latents have known colours; those of any other autoencoder are measured on it, once."""
        own = vae.config.scaling_factor == SDXL_SCALING and vae.config.latent_channels == len(SDXL_COLOURS)
        colours = (*SDXL_COLOURS, SDXL_GREY)
        self._map = torch.tensor(colours) if own else _measured_colours(vae)

    @torch.no_grad()
    def picture(self, latents: torch.Tensor) -> bytes:
        """Return a PNG of at most 128 pixels a side."""
        small = latents[0].float().cpu()
        small = small / max(1.0, float(small.std()))  # early latents are as large as their noise
        while max(small.shape[1:]) > PREVIEW_SIDE:
            small = torch.nn.functional.avg_pool2d(small, 2, ceil_mode=True)
        shades = torch.einsum("chw,cr->hwr", small, self._map[:-1]) + self._map[-1]
        pixels: NDArray[np.uint8] = shades.clamp(0, 255).round().to(torch.uint8).numpy()
        return png.encode(pixels)


@torch.no_grad()
def _measured_colours(vae: Any) -> torch.Tensor:
    """Return the map from channels to colours that is nearest to what `vae` makes of patches of one latent each."""
    channels, patches, side = int(vae.config.latent_channels), 8, 4
    generator = torch.Generator("cpu").manual_seed(0)
    latents = torch.randn((1, channels, patches, patches), generator=generator)
    spread = latents.repeat_interleave(side, 2).repeat_interleave(side, 3).to(vae.device, vae.dtype)
    image: torch.Tensor = vae.decode(_unscaled(vae, spread), return_dict=False)[0]
    shades = torch.nn.functional.adaptive_avg_pool2d((image.float().cpu() * 0.5 + 0.5) * 255, patches)
    known = torch.cat([latents[0].reshape(channels, -1).T, torch.ones(patches * patches, 1)], dim=1)
    found: torch.Tensor = torch.linalg.lstsq(known, shades[0].reshape(3, -1).T).solution
    return found.nan_to_num(0.0)
