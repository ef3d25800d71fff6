"""Creatures that are drawn for whoever asks: words, picture and name put together. Draws nothing, queues nothing."""

from __future__ import annotations

import asyncio
import base64
from typing import Final, NamedTuple, Protocol

from minimon_server.beside import in_thread
from minimon_server.creatures.dice import Dice
from minimon_server.creatures.hatchery import Creature, identify, picture_seed
from minimon_server.creatures.naming import NameSource
from minimon_server.creatures.prompts import Prompts, Wording
from minimon_server.creatures.rarity import Rarity, RarityTable
from minimon_server.engines.files import Picture
from minimon_server.engines.messages import DrawnPicture, NoCutout
from minimon_server.engines.on_demand import pack, pack_alone
from minimon_server.errors import Text
from minimon_server.logs import Logger

RETRY_SECONDS: Final = 30.0

COLD: Final = Text("Le modèle des créatures se charge.", "The creatures' model is loading.")


class SetAside(Exception):
    """What was made ahead was stopped, because somebody waits."""


class MaybeKept(OSError):
    """The disk failed so that nobody knows whether a creature lies there, and a later start may find it."""


class Painter(Protocol):
    """Who draws the words of a creature. Raises `EngineFault` and its kin, and what says that nobody may wait now."""

    async def draw(self, wording: Wording, seed: int, *, ahead: bool = False, exact: bool = True) -> DrawnPicture:
        """Return one picture; the same words and seed give the same one, to rounding where it need not be `exact`.

        Cancelled, it stops drawing.
        """


class Finished(NamedTuple):
    """A creature that can be sent as it is. `base64` is that of its PNG; `renamed`: by a `NameSource`."""

    creature: Creature
    base64: bytes
    renamed: bool


class DrawnCreatures:
    """Makes creatures on demand. The same dice and the same wish give the same one, with the same model and table."""

    def __init__(
        self, rarities: RarityTable, prompts: Prompts, painter: Painter, names: NameSource, log: Logger
    ) -> None:
        self.is_warm = False
        self.rarities = rarities
        self._trouble: Text | None = COLD
        self._prompts = prompts
        self._painter = painter
        self._names = names
        self._log = log

    def rarity_of(self, dice: bytes, wish: Rarity | None) -> Rarity:
        """Return the rarity of the creature of these 32 bytes."""
        return identify(dice, wish, self.rarities).rarity

    @property
    def can_cut_out(self) -> bool:
        """Whether the table has words for creatures that are cut out of their background."""
        return self._prompts.has_sprites

    @property
    def trouble(self) -> Text | None:
        """Why nobody should ask now: nothing has been drawn yet."""
        return None if self.is_warm else self._trouble

    async def make(
        self,
        dice: bytes,
        wish: Rarity | None = None,
        *,
        seeded: bool = False,
        ahead: bool = False,
        alone: bool = False,
    ) -> Finished:
        """Return the creature of these 32 bytes; a seeded one keeps its local name, which is its own for ever.

        Its name is asked for while its picture is drawn. `alone`: cut out of its background, for tables that
        `can_cut_out`. Raises what the painter does, and `NoCutout`.
        """
        being = identify(dice, wish, self.rarities)
        naming = None if seeded or self._names.at_once else asyncio.create_task(self._names.name_for(being))
        wording = self._prompts.of(dice, being.rarity, alone=alone)
        try:
            drawn = await self._painter.draw(wording, picture_seed(dice), ahead=ahead, exact=seeded)
            self.is_warm = True
            png, text = await in_thread(lambda: _packed(drawn, alone), "creatures")
            name = await naming if naming else None
        except NoCutout as reason:
            self._log.info("a creature could not be cut out", creature=being.id, reason=str(reason))
            raise
        finally:
            if naming:
                naming.cancel()
        picture = Picture(drawn.width, drawn.height, png)
        return Finished(Creature(being.id, name or being.name, being.rarity, picture), text, name is not None)

    async def warm_up(self, dice: Dice, seconds: float = RETRY_SECONDS) -> None:
        """Draw one creature that nobody asked for, so that whoever asks does not wait for a model to load.

        One that fails is told, and tried again every `seconds` until any drawing has succeeded.
        """
        while not self.is_warm:
            try:
                await self.make(dice.throw(), seeded=True)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._log.warning("the warm-up failed", exception=error)
                reason = str(error)
                self._trouble = Text(
                    f"Aucune créature n'a pu être dessinée : {reason}", f"No creature could be drawn: {reason}"
                )
                await asyncio.sleep(seconds)
            else:
                self._log.info("the creatures' model is warm")


def _packed(drawn: DrawnPicture, alone: bool) -> tuple[bytes, bytes]:
    png = pack_alone(drawn) if alone else pack(drawn)
    return png, base64.b64encode(png)
