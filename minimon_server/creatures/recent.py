"""The creatures that were given out a moment ago, so that a lost answer loses none. In memory, and bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from minimon_server.creatures.hatchery import Creature

MOST: Final = 1000
MOST_BYTES: Final = 64 * 1024 * 1024
SECONDS: Final = 900.0


class Given(NamedTuple):
    """One answer: the creature, its JSON up to its id, when it was made (RFC 3339), whether its name is plain ASCII."""

    creature: Creature
    head: bytes
    at: str
    local_name: bool


class Recent:
    """Keeps what was given out for `SECONDS`, the oldest going first where there are too many. For one thread."""

    def __init__(
        self,
        *,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        seconds: float = SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most_bytes` bounds pictures and heads of drawn creatures; those of files are there anyway."""
        self._most = most
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._monotonic = monotonic
        self._given: OrderedDict[str, tuple[float, int, Given]] = OrderedDict()
        self._bytes = 0

    def keep(self, given: Given, *, own_bytes: int) -> None:
        """Remember one answer, `own_bytes` of memory being its own; one of the same id takes its place."""
        name = given.creature.id
        if (before := self._given.pop(name, None)) is not None:
            self._bytes -= before[1]
        if own_bytes > self._most_bytes:
            return
        self._given[name] = self._monotonic() + self._seconds, own_bytes, given
        self._bytes += own_bytes
        while len(self._given) > self._most or self._bytes > self._most_bytes:
            self._bytes -= self._given.popitem(last=False)[1][1]

    def find(self, creature_id: str) -> Given | None:
        """Return the answer that gave this creature, or None when it is kept no longer, or never was."""
        self._forget()
        found = self._given.get(creature_id)
        return found[2] if found else None

    def _forget(self) -> None:
        now = self._monotonic()
        while self._given and next(iter(self._given.values()))[0] <= now:
            self._bytes -= self._given.popitem(last=False)[1][1]
