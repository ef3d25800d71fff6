"""From latents to pixels: the autoencoder, and a small preview without it. Never returns a picture that is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from minimon_server.engines import png
from minimon_server.engines.captured_graphs import captured_of, drop_graphs
from minimon_server.engines.messages import EngineFault
from minimon_server.engines.sdxl_landing import Landing, packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREVIEW_SIDE: Final = 128
# What each channel of SDXL's own latents adds to red, green and blue, and what grey is; published with the library
# (docs/source/en/using-diffusers/callback.md), for latents as the UNet sees them.
SDXL_SCALING: Final = 0.13025
SDXL_COLOURS: Final = ((60.0, 60.0, 60.0), (-60.0, -5.0, 10.0), (25.0, 15.0, -5.0), (-70.0, -50.0, -35.0))
SDXL_GREY: Final = (150.0, 140.0, 130.0)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pixels of one picture (height x width x 3), and what was so when their decoding began."""

    pixels: NDArray[np.uint8]
    numbers: str  # that they were decoded in
    is_tiled: bool
    is_second: bool = False  # it was none at first, and was decoded again when it was waited for
    rungs: tuple[str, ...] = ()  # of the ladder; whoever climbs it sets them


class Decoding:
    """Pictures that are decoded together, and are on their way from the device."""

    @torch.no_grad()
    def __init__(self, vae: Any, latents: Sequence[torch.Tensor]) -> None:
        """Begin with it; `latents` are those of one picture each, all of one size."""
        self._vae, self._latents = vae, latents
        together = torch.cat(list(latents)) if len(latents) > 1 else latents[0]
        self._dtype: torch.dtype = vae.dtype
        self._is_tiled = _is_tiled(vae)
        self._landing = _landing(vae, together.to(self._dtype))

    def __len__(self) -> int:
        return len(self._latents)

    def landed(self) -> list[Decoded | EngineFault]:
        """Wait, and return for each picture what `decode` does; one that came out as none is decoded again alone."""
        told = str(self._dtype).removeprefix("torch.")
        # Alone it is rounded otherwise, which may be enough; it was alone already if there is one.
        again = _decoded if len(self) > 1 else _decoded_in_full
        return [
            Decoded(pixels, told, self._is_tiled) if pixels is not None else again(self._vae, one)
            for pixels, one in zip(self._landing.pixels(), self._latents, strict=True)
        ]


def decode(vae: Any, latents: torch.Tensor) -> tuple[NDArray[np.uint8], str]:
    """Return the pixels (height x width x 3) of one picture's latents, and in which numbers they were decoded.

    What comes out black or not a number is decoded again in 32-bit floats; raise `EngineFault` if that does not help.
    """
    (found,) = Decoding(vae, [latents]).landed()
    if isinstance(found, EngineFault):
        raise found
    return found.pixels, found.numbers


def _decoded(vae: Any, latents: torch.Tensor) -> Decoded | EngineFault:
    (found,) = Decoding(vae, [latents]).landed()
    return found if isinstance(found, EngineFault) else replace(found, is_second=True)


@contextmanager
def in_32_bits(vae: Any) -> Iterator[None]:
    """Let an autoencoder compute in 32-bit floats meanwhile."""
    own: torch.dtype = vae.dtype
    try:
        vae.to(dtype=torch.float32)  # may run out of memory with half of it done
        yield
    finally:
        vae.to(dtype=own)  # exact: every value came from there
        drop_graphs(vae)


@torch.no_grad()
def _decoded_in_full(vae: Any, latents: torch.Tensor) -> Decoded | EngineFault:
    if vae.dtype != torch.float32:
        with in_32_bits(vae):
            image: torch.Tensor = vae.decode(_unscaled(vae, latents.float()), return_dict=False)[0]
            (pixels,) = Landing(packed(image)).pixels()
        if pixels is not None:
            return Decoded(pixels, "float32", _is_tiled(vae), is_second=True)
    return EngineFault("The model gave a black picture, or none at all; nothing was kept.")


def _is_tiled(vae: Any) -> bool:
    return bool(getattr(vae, "use_tiling", False))


def _landing(vae: Any, latents: torch.Tensor) -> Landing:
    scaled = _unscaled(vae, latents)
    graphs = captured_of(vae)
    if graphs is not None and not _is_tiled(vae):  # tiles are many small decodings
        return Landing(*graphs(scaled))
    images: torch.Tensor = vae.decode(scaled, return_dict=False)[0]
    return Landing(packed(images))


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
