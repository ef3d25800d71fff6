"""Clean edges for transparent pictures: colours run on under the transparent pixels; alpha is never changed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

REACH: Final = 3


def bleed(pixels: NDArray[np.uint8]) -> None:
    """Give fully transparent pixels near the creature their neighbours' mean colour, in place.

    Games filter sprites when they scale them; without this the black of empty pixels would show as a dark fringe.
    """
    known = pixels[..., 3] > 0
    height, width = known.shape
    for _ in range(REACH):
        total = np.zeros((height + 2, width + 2, 3), np.uint16)
        count = np.zeros((height + 2, width + 2, 1), np.uint16)
        for row in range(3):
            for column in range(3):
                total[row : row + height, column : column + width] += np.where(known[..., None], pixels[..., :3], 0)
                count[row : row + height, column : column + width] += known[..., None]
        total, count = total[1:-1, 1:-1], count[1:-1, 1:-1]
        fresh = ~known & (count[..., 0] > 0)
        pixels[fresh, :3] = total[fresh] // count[fresh]
        known = known | fresh
