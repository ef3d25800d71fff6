"""The eight rarities and the drawing of one. How often each comes is the setting `rarity_weights`."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Final


class Rarity(StrEnum):
    """From the commonest to the rarest; the order of definition is the order of splendour."""

    F = "F"
    E = "E"
    D = "D"
    C = "C"
    B = "B"
    A = "A"
    S = "S"
    S_PLUS = "S+"


RARITIES: Final = tuple(Rarity)


class RarityTable:
    """Draws rarities by weight: with weights 30 22 17 12 9 6 3 1, thirty creatures in a hundred are F."""

    def __init__(self, weights: Sequence[float]) -> None:
        """Take eight weights, from F to S+: finite, none below zero, not all zero (`ValueError` otherwise)."""
        if len(weights) != len(RARITIES):
            raise ValueError(f"eight weights are needed, from F to S+; {len(weights)} were given")
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
            raise ValueError("weights are finite numbers, none below zero and not all zero")
        total = sum(weights)
        if not math.isfinite(total):
            raise ValueError("the sum of the weights is too large")
        bounds = [bound / total for bound in accumulate(weights)]
        # Rounding may leave the last bound a hair below 1: what lies above it belongs to the last rarity with a weight.
        last = max(index for index, weight in enumerate(weights) if weight > 0)
        self._bounds = (*bounds[:last], math.inf)

    def draw(self, fraction: float) -> Rarity:
        """Return the rarity that `fraction`, a number in [0, 1), falls on."""
        return RARITIES[bisect_right(self._bounds, fraction)]
