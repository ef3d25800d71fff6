"""Decoding in tiles: how large they are, and an autoencoder that is told to. Decodes nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from minimon_server.engines.sdxl_memory import pixels_of_a_latent

# A tile's side in latents: the library's own for SDXL is 128, a whole picture of 1024 pixels. Multiples of 4, so that
# a quarter, by which tiles overlap, is a whole number.
LARGEST_TILE: Final = 64
SMALLEST_TILE: Final = 8


def tile_side(latents: tuple[int, int]) -> int:
    """Return the side of a tile, in latents, for a picture of so many."""
    half = -(-max(latents) // 2)
    return max(SMALLEST_TILE, min(LARGEST_TILE, -(-half // 4) * 4))


def decode_in_tiles(vae: Any, side: int) -> Callable[[], None]:
    """Let an autoencoder work in tiles of `side` latents from now on; return what undoes it."""
    names = ("use_tiling", "tile_latent_min_size", "tile_sample_min_size")
    before = {name: getattr(vae, name) for name in names}

    def undo() -> None:
        for name, value in before.items():
            setattr(vae, name, value)

    vae.enable_tiling()
    vae.tile_latent_min_size = side
    vae.tile_sample_min_size = side * pixels_of_a_latent(vae)
    return undo
