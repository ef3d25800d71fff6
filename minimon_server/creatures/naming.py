"""Who names a creature: the contract that every source of names keeps, and the source that asks nobody."""

from __future__ import annotations

from typing import Final, Protocol

from minimon_server.creatures.hatchery import Creature


class NameSource(Protocol):
    """Gives creatures better names than their dice did, or none; never raises because it could not."""

    @property
    def at_once(self) -> bool:
        """Whether the names of the dice always stand, so that nobody has to wait for this source."""

    async def name_for(self, creature: Creature) -> str | None:
        """Return a name for this creature, or None when it keeps the local one that its dice gave it."""

    def stop(self) -> None:
        """Let whoever waits for a name go on with the local one, now and from now on."""

    async def close(self) -> None:
        """Stop, and give back what is held."""


class LocalNames:
    """The names that `names` makes out of the dice: a creature has one as soon as it is hatched."""

    at_once: Final = True

    async def name_for(self, creature: Creature) -> str | None:
        """Return None: the name of the dice stands."""
        return None

    def stop(self) -> None:
        """Nobody waits."""

    async def close(self) -> None:
        """Nothing is held."""
