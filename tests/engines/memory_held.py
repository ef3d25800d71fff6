"""What this process holds: layers, tensors, mapped files, memory; for tests that it is no more than before."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.engines.test_sdxl_ladder import live, resident

MEBI = 2**20
# What the allocators of Python, C and torch may have grown by in fifty switches, and the mappings that they may have
# got: seen were 0.1 MiB and none. 256 KiB that each load left are 12 MiB; a model is 12 MiB.
MOST_GROWN = 8 * MEBI
MOST_BLOCKS = 16


@dataclass(frozen=True)
class Held:
    """`modules` are layers and networks, `tensors` their number and bytes, `files` the mappings of a folder's files."""

    modules: int
    tensors: tuple[int, int]
    files: int


def held(root: Path) -> Held:
    """Return what is held of the models in a folder: the same for the same models, whatever was done before."""
    tensors = live()  # which collects what is nobody's first
    return Held(living_modules(), tensors, sum(str(root) in line for line in _mappings()))


def size() -> tuple[int, int]:
    """Return the bytes of this process that lie in memory, and the number of its mappings."""
    return resident(), len(_mappings())


def living_modules() -> int:
    """Return how many layers and networks there are."""
    gc.collect()
    return sum(issubclass(type(one), torch.nn.Module) for one in gc.get_objects())


def _mappings() -> list[str]:
    return Path("/proc/self/maps").read_text("utf-8").splitlines()
