"""What lies in memory, how often it ran out, what was done about it: numbers for `/metrics`. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

# What is tried when memory runs out, in this order.
Rung = Literal["free", "halve", "tile", "slice", "offload"]
RUNGS: Final[tuple[Rung, ...]] = ("free", "halve", "tile", "slice", "offload")


@dataclass(frozen=True, slots=True)
class Resident:
    """One model that is in memory, in the tier `device` or `host`; shared parts count in each that holds them."""

    model: str
    tier: str
    bytes: int


@dataclass(slots=True)
class MemoryTally:
    """Written by the engine's thread alone, read by any: plain numbers since the start of the process."""

    out_of_memory: int = 0
    refused: int = 0  # requests that were not begun: they could not have fitted
    rungs: dict[Rung, int] = field(default_factory=lambda: dict.fromkeys(RUNGS, 0))
    loads: int = 0  # models that were read from the disk
    copies: int = 0  # models that came back to the device from main memory
    demotions: int = 0  # parts of models that went from the device to main memory
    evictions: int = 0  # models that were put out of memory while the engine ran
    adapters_read: int = 0  # files of LoRAs that were read for a merge
    adapters_kept: int = 0  # LoRAs that were merged from what is kept in memory
    resident: tuple[Resident, ...] = ()  # the least recently used first; replaced as a whole, never changed
    held: dict[str, int] = field(default_factory=dict)  # bytes by tier, shared parts once; replaced as a whole
    budgets: dict[str, int] = field(default_factory=dict)  # bytes by tier; empty before the first model

    @property
    def told(self) -> dict[str, object]:
        """What `/ready` says: which models are in memory, where, and their MiB."""
        return {one.model: f"{one.tier}, {one.bytes >> 20} MiB" for one in self.resident}
