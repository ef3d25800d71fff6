"""The coat's colour by measure: a histogram of the creature's middle, beside those of drawn ones. No network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.artist.traits import Colour, Traits

HUES: Final = 24
GREYS: Final = 8
FAINT: Final = 0.14
MIDDLE: Final = (0.30, 0.88, 0.30, 0.70)  # top, bottom, left, right of where every body is


def histogram(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the shares of hues, by light and dark, and of greys in the middle of a picture, as a unit vector."""
    side = pixels.shape[0]
    top, bottom, left, right = (int(part * side) for part in MIDDLE)
    part = Image.fromarray(pixels[top:bottom, left:right]).convert("HSV")
    hue, saturation, value = (np.asarray(part, np.float64)[..., axis].ravel() / 255 for axis in range(3))
    coloured = saturation * value > FAINT
    bright = (value > 0.72).astype(int)
    hues = np.bincount((hue[coloured] * HUES).astype(int) % HUES + HUES * bright[coloured], minlength=2 * HUES)
    greys = np.bincount(np.minimum((value[~coloured] * GREYS).astype(int), GREYS - 1), minlength=GREYS)
    shares = np.sqrt(np.concatenate([hues, greys]) / max(1, len(hue)))
    unit: NDArray[np.float64] = shares / (np.linalg.norm(shares) + 1e-12)
    return unit


class Hues:
    """Knows what each colour's creatures look like in the middle, from drawn ones."""

    def __init__(self, pixels: NDArray[np.uint8], traits: Sequence[Traits]) -> None:
        self._known = np.stack([histogram(one) for one in pixels])
        self._colours = np.array([list(Colour).index(one.colour) for one in traits])

    def colour(self, pixels: NDArray[np.uint8], neighbours: int = 9) -> str:
        """Return the colour of a creature: what most of the nearest drawn ones are."""
        near = np.argsort(self._known @ histogram(pixels))[-neighbours:]
        return list(Colour)[int(np.bincount(self._colours[near]).argmax())].value
