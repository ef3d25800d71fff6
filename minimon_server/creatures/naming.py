"""Who names a creature: the contract that every source of names keeps, and the source that asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol

from minimon_server.creatures.breaker import State
from minimon_server.creatures.hatchery import Being


class FallBack(Enum):
    """Why a creature kept its local name though a better one was asked for: few words, for whoever counts."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    STATUS = "status"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    NO_NAME = "no_name"
    PAUSED = "paused"
    BUSY = "busy"
    ENDING = "ending"
    UNEXPECTED = "unexpected"


class NameSource(Protocol):
    """Gives creatures better names than their dice did, or none; never raises because it could not."""

    @property
    def at_once(self) -> bool:
        """Whether the names of the dice always stand, so that nobody has to wait for this source."""

    async def name_for(self, creature: Being) -> str | None:
        """Return a name for this creature, or None when it keeps the local one that its dice gave it."""

    @property
    def fall_backs(self) -> Mapping[FallBack, int]:
        """How often a creature kept its local name, by reason; empty for a source that never had another to give."""

    @property
    def breaker(self) -> State | None:
        """Whether whoever gives names is asked now; None when nobody is ever asked."""

    def stop(self) -> None:
        """Let whoever waits for a name go on with the local one, now and from now on."""

    async def close(self) -> None:
        """Stop, and give back what is held."""


class LocalNames:
    """The names that `names` makes out of the dice: a creature has one as soon as it is hatched."""

    at_once: Final = True
    fall_backs: Final[Mapping[FallBack, int]] = MappingProxyType({})
    breaker: Final = None

    async def name_for(self, creature: Being) -> str | None:
        """Return None: the name of the dice stands."""
        return None

    def stop(self) -> None:
        """Nobody waits."""

    async def close(self) -> None:
        """Nothing is held."""
