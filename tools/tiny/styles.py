"""Three ways to look: pixels, neon lines, watercolour, as filters over drawn pictures. Trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

Pixels = NDArray[np.uint8]

BLOCK: Final = 4  # pixels of a picture of 128 to one of its pixel art
COLOURS: Final = 40
NIGHT: Final = np.array([14.0, 8.0, 34.0], np.float32)
PAPER: Final = np.array([252.0, 248.0, 238.0], np.float32)


def pixel_art(pixels: Pixels) -> Pixels:
    """Return a picture of [side, side, 3] as a few colours in squares."""
    side = len(pixels)
    small = Image.fromarray(pixels).resize((side // BLOCK, side // BLOCK), Image.Resampling.HAMMING)
    small = ImageEnhance.Color(small.filter(ImageFilter.UnsharpMask(1, 60, 0))).enhance(1.25)
    few = small.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).convert("RGB")
    return np.asarray(few.resize((side, side), Image.Resampling.NEAREST))


def neon(pixels: Pixels) -> Pixels:
    """Return a picture's lines alone, as tubes of light in the colours that they go around, in the night."""
    tubes = np.clip(2.6 * _lines(pixels), 0, 1) * _vivid(_largest(pixels))
    smooth = _blurred(pixels.astype(np.float32), 1.0)
    return _bytes(NIGHT + 0.16 * smooth + 0.9 * tubes + 0.55 * _blurred(tubes, 3.0))


def watercolour(pixels: Pixels) -> Pixels:
    """Return a picture as washes of thin paint under a drawing in ink, on paper that stays white at its rim."""
    side = len(pixels)
    washes = _blurred(np.asarray(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(3))).astype(np.float32), 1.3)
    grain = np.random.default_rng(7).normal(size=(side, side, 1)).astype(np.float32)
    clouds = _blurred(grain, 7.0) * 16
    thin = np.clip(0.34 + 0.14 * clouds, 0.1, 0.6)
    rows = np.linspace(-1, 1, side, dtype=np.float32)
    away = np.sqrt(rows[:, None] ** 2 + rows[None, :] ** 2)[..., None] + 0.14 * clouds
    edge = np.clip((away - 1.0) / 0.2, 0, 1)
    painted = washes * (1 - thin) + PAPER * thin
    inked = painted * (1 - 0.75 * np.clip(2.0 * _lines(pixels), 0, 1))
    return _bytes(inked * (1 - edge) + PAPER * edge)


STYLES: Final[Mapping[str, Callable[[Pixels], Pixels]]] = MappingProxyType(
    {"pixel-art": pixel_art, "neon": neon, "watercolour": watercolour}
)


def _blurred(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Blur [side, side, channels] by a Gaussian of this deviation; beyond the border lies what lies at it."""
    reach = int(3 * radius + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / radius) ** 2).astype(np.float32)
    weights /= weights.sum()
    for axis in (0, 1):
        around = [(0, 0)] * values.ndim
        around[axis] = (reach, reach)
        wide = np.pad(values, around, mode="edge")
        size = values.shape[axis]
        parts = [weight * np.take(wide, np.arange(at, at + size), axis) for at, weight in enumerate(weights)]
        values = np.sum(parts, axis=0, dtype=np.float32)
    return values


def _lines(pixels: Pixels) -> NDArray[np.float32]:
    """Return how much darker each place is than what lies on both sides of it, [side, side, 1] of 0 to 1."""
    grey = Image.fromarray(pixels).convert("L")
    closed = grey.filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.MinFilter(5))
    darker: NDArray[np.float32] = (np.asarray(closed).astype(np.float32) - np.asarray(grey))[..., None] / 255
    return darker


def _largest(pixels: Pixels) -> Pixels:
    """Return for each place the brightest colours around: an outline shines as what it goes around."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.MaxFilter(5)))


def _vivid(pixels: Pixels) -> NDArray[np.float32]:
    values = pixels.astype(np.float32)
    grey = values.mean(-1, keepdims=True)
    strong = np.clip(grey + 2.2 * (values - grey), 0, 255)
    vivid: NDArray[np.float32] = strong * (255 / np.maximum(strong.max(-1, keepdims=True), 1))
    return vivid


def _bytes(values: NDArray[np.float32]) -> Pixels:
    return np.clip(values, 0, 255).round().astype(np.uint8)
