"""How often memory ran out and what was done about it, counted for `/metrics`. Imports no library, decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

# What is tried when memory runs out, in this order.
Rung = Literal["free", "tile", "slice", "offload"]
RUNGS: Final[tuple[Rung, ...]] = ("free", "tile", "slice", "offload")


@dataclass(slots=True)
class MemoryTally:
    """Written by the engine's thread alone, read by any: plain numbers since the start of the process."""

    out_of_memory: int = 0
    refused: int = 0  # requests that were not begun: they could not have fitted
    rungs: dict[Rung, int] = field(default_factory=lambda: dict.fromkeys(RUNGS, 0))
