"""Which processor core the server and the load generator use; starts no processes itself.

Pinning works by inheritance: a process started inside `pinned` stays on that core.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """The core of the server and the core of the load generator."""

    server: int
    load: int

    @property
    def shared(self) -> bool:
        """Whether the two compete for one core, which makes every rate a lower bound."""
        return self.server == self.load


def choose() -> Cores:
    """Take the first and the last core this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(server=usable[0], load=usable[-1])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this thread, and whatever it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
