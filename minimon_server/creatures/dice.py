"""Randomness for creatures, taken from the system in large sips. Decides nothing with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

DICE_BYTES: Final = 32
SIP_BYTES: Final = 128 * DICE_BYTES


class Dice:
    """Gives 32 random bytes a throw; asks `source` (the system's generator) once in 128 throws, not each time."""

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._sip = b""
        self._at = 0

    def throw(self) -> bytes:
        """Return 32 bytes that were never given before."""
        at = self._at
        if at == len(self._sip):
            self._sip, at = self._source(SIP_BYTES), 0
        self._at = at + DICE_BYTES
        return self._sip[at : self._at]
