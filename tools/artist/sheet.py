"""The contact sheet: 48 creatures nobody picked, a column for each rarity from F to S+; it writes no files."""

from __future__ import annotations

from typing import Final

import numpy as np

from tools.artist.creature import stream
from tools.artist.picture import Pixels, draw
from tools.artist.png import thrifty
from tools.artist.traits import Rarity, sample

SHEET_SEED: Final = 2024
ROWS: Final = 6
CELL: Final = 160


def draw_sheet(seed: int = SHEET_SEED, rows: int = ROWS, cell: int = CELL) -> Pixels:
    """Draw rows x 8 creatures of cell x cell pixels each, one rarity a column, as one opaque RGB array."""
    rarities = list(Rarity)
    sheet: Pixels = np.zeros((rows * cell, len(rarities) * cell, 3), np.uint8)
    for row in range(rows):
        for column, rarity in enumerate(rarities):
            number = seed * 1000 + row * len(rarities) + column
            pixels = draw(sample(stream(number, "traits"), rarity), number, cell)
            sheet[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = pixels[..., :3]
    return thrifty(sheet)
