"""Three ways to look: ink, the colours of synthwave, watercolour, as filters over drawn pictures. Trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]

PAPER: Final = np.array([252.0, 248.0, 238.0], np.float32)
INK: Final = np.array([34.0, 30.0, 44.0], np.float32)
INK_RANGE: Final = (0.04, 0.9)  # shares of a picture that are darker than its darkest and its lightest wash
STEEP: Final = 33.0  # how sharp a wash ends
NIGHT_RANGE: Final = (0.02, 0.98)
LEAST_RANGE: Final = 51.0  # shades of grey: an even picture is not torn apart
# From dark to light, of 0 to 1, and red, green and blue there.
NIGHT_STOPS: Final = (0.0, 0.3, 0.55, 0.78, 1.0)
NIGHT_SHADES: Final = ((18, 112, 250, 92, 240), (8, 22, 52, 214, 255), (52, 168, 168, 255, 255))


def ink(pixels: Pixels) -> Pixels:
    """Return a picture of [side, side, 3] as a drawing in ink: its lines, and three washes of grey on paper."""
    soft = _blurred(_grey(pixels), 0.8)
    low, high = np.quantile(soft, INK_RANGE)
    tone = (soft - low) / max(float(high - low), 1.0)
    wash = 0.34 + 0.36 * _stair(tone, 0.34) + 0.30 * _stair(tone, 0.62)
    light = wash * (1 - np.clip(2.4 * _lines(pixels), 0, 1))
    return _bytes(INK + (PAPER - INK) * light)


def synthwave(pixels: Pixels) -> Pixels:
    """Return a picture in the colours of signs at night: dark blue to magenta to cyan, by how light each place is."""
    grey = _grey(pixels)[..., 0]
    low, high = np.quantile(grey, NIGHT_RANGE)
    tone = np.clip((grey - low) / max(float(high - low), LEAST_RANGE), 0, 1)
    return _bytes(np.stack([np.interp(tone, NIGHT_STOPS, shades) for shades in NIGHT_SHADES], -1))


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
    {"ink": ink, "synthwave": synthwave, "watercolour": watercolour}
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


def _grey(pixels: Pixels) -> NDArray[np.float32]:
    """Return how light each place is, [side, side, 1] of 0 to 255."""
    grey: NDArray[np.float32] = pixels.astype(np.float32) @ np.array([[0.3], [0.55], [0.15]], np.float32)
    return grey


def _stair(tone: NDArray[np.float32], at: float) -> NDArray[np.float32]:
    """Return 0 below a tone and 1 above it, and a soft step between."""
    step: NDArray[np.float32] = 1 / (1 + np.exp(-STEEP * (tone - at)))
    return step


def _bytes(values: NDArray[np.float32]) -> Pixels:
    return np.clip(values, 0, 255).round().astype(np.uint8)
