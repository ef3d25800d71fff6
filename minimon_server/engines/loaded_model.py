"""One model in memory, with all that belongs to it. Loads nothing, moves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimon_server.engines.adapter_stack import AdapterStack
from minimon_server.engines.checkpoint_files import OnDisk
from minimon_server.engines.file_hashes import Hashing
from minimon_server.engines.file_stamps import Stamp
from minimon_server.engines.messages import Stack
from minimon_server.engines.sdxl_acceleration import Accelerated
from minimon_server.engines.sdxl_decoding import Previews


@dataclass(slots=True, eq=False)
class Loaded:
    """One model in memory. `stamps` are those of its files before they were read."""

    name: str
    folder: OnDisk
    pipeline: Any
    previews: Previews
    fingerprint: str
    rests: bool  # its parts lie in main memory, and come to the device when they are needed
    stack: AdapterStack
    hashing: Hashing
    accelerated: Accelerated
    parts: Mapping[str, str]  # the names in the pool of its networks
    stamps: Mapping[Path, Stamp]
    told: Stack  # the stack that it could draw at once
    scheduler: Any  # the model's own, whatever the pipeline holds while it draws

    @property
    def dirty(self) -> frozenset[str]:
        """The parts that its adapters have changed."""
        return frozenset(self.parts[network] for network in self.stack.changed)
