"""A creature alone, without its background, or why it cannot be had (`background=transparent`). Cuts nothing itself."""

from __future__ import annotations

from typing import Final

from minimon_server.creatures.dice import Dice
from minimon_server.creatures.drawn import DrawnCreatures, Finished
from minimon_server.creatures.hatchery import Creature, Hatchery
from minimon_server.creatures.rarity import Rarity
from minimon_server.engines.messages import NoCutout
from minimon_server.errors import FieldMistake, InvalidRequest, Text

FIELD: Final = "background"
TRIES: Final = 4  # how many creatures without a seed are drawn until one can be cut out
NO_WORDS: Final = Text(
    "la table des mots de ce serveur n'a pas de sprite_prompt : rien n'est détouré",
    "this server's table of words has no sprite_prompt: nothing is cut out",
)


def sprite_of(hatchery: Hatchery, creature: Creature) -> Creature:
    """Return the same creature with the picture that shows it alone.

    Raise `InvalidRequest` unless every picture has one: a game learns at its first request what it can have.
    """
    lacking = sum(picture not in hatchery.sprites for picture in hatchery.pictures)
    if lacking:
        of = len(hatchery.pictures)
        fr = f"{lacking} des {of} images de ce serveur n'ont ni alpha ni fichier .sprite.png à côté d'elles"
        en = f"{lacking} of this server's {of} pictures have neither alpha nor a .sprite.png file beside them"
        raise _refused(Text(fr, en))
    return creature._replace(picture=hatchery.sprites[creature.picture])


async def drawn_alone(
    creatures: DrawnCreatures, dice: Dice, thrown: bytes, wish: Rarity | None, *, seeded: bool
) -> Finished:
    """Return a creature of the bytes `thrown`, drawn before an even background and cut out of it.

    One without a seed that cannot be cut out is followed by another of its rarity, `TRIES` in all. Raise
    `InvalidRequest` when none can, and what `DrawnCreatures.make` does.
    """
    if not creatures.can_cut_out:
        raise _refused(NO_WORDS)
    for left in reversed(range(1 if seeded else TRIES)):
        try:
            return await creatures.make(thrown, wish, seeded=seeded, alone=True)
        except NoCutout as reason:
            if not left:
                raise _refused(_cannot(reason, seeded)) from reason
        wish, thrown = creatures.rarity_of(thrown, wish), dice.throw()
    raise AssertionError("the last try returns or raises")


def _refused(why: Text) -> InvalidRequest:
    return InvalidRequest(fields=[FieldMistake(FIELD, why)])


def _cannot(reason: NoCutout, seeded: bool) -> Text:
    tries = Text("de cette graine", "of this seed") if seeded else Text(f"({TRIES} essais)", f"({TRIES} tries)")
    return Text(
        f"la créature {tries.fr} ne peut être détourée : {reason.text.fr}",
        f"the creature {tries.en} cannot be cut out: {reason.text.en}",
    )
