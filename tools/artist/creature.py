"""Puts a creature together from body, face, limbs and ornaments in painting order; it paints nothing itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tools.artist.anatomy import Build
from tools.artist.coat import Coat, make_coat
from tools.artist.elements import make_crest
from tools.artist.face import make_face
from tools.artist.headgear import make_ears, make_horns
from tools.artist.limbed import biped_body, quadruped_body, serpent_body
from tools.artist.plump import bird_body, egg_body, round_body, slime_body
from tools.artist.sketch import Sketch
from tools.artist.splendour import make_crown, make_neckwear, make_scuffs
from tools.artist.tails import make_tail
from tools.artist.traits import Body, Element, Horns, Traits, Wings
from tools.artist.wings import make_wings

Builder = Callable[[Coat, Element, random.Random], Build]

BUILDERS: Final[Mapping[Body, Builder]] = MappingProxyType(
    {
        Body.ROUND: round_body,
        Body.SLIME: slime_body,
        Body.EGG: egg_body,
        Body.BIPED: biped_body,
        Body.QUADRUPED: quadruped_body,
        Body.BIRD: bird_body,
        Body.SERPENT: serpent_body,
    }
)


def stream(seed: int, topic: str) -> random.Random:
    """Return the random numbers for one topic, so that changing one trait leaves the others' chances alone."""
    return random.Random(f"{seed}/{topic}")


def make_creature(traits: Traits, seed: int) -> Sketch:
    """Sketch the creature in its own 256x256 drawing space, feet at y = 224; it may reach beyond that square."""
    coat = make_coat(traits, stream(seed, "coat"))
    build = BUILDERS[traits.body](coat, traits.element, stream(seed, "body"))
    anatomy = build.anatomy
    winged = traits.wings is not Wings.NONE
    sketch = Sketch()
    far_wings, near_wings = make_wings(traits.wings, anatomy, coat)
    horns = make_horns(traits, anatomy.head)
    crest = make_crest(traits, anatomy, coat)
    sketch.add(*far_wings, *make_tail(traits.tail, anatomy, coat, winged), *build.rear, *build.torso, *near_wings)
    sketch.add(*crest)
    if traits.horns is not Horns.UNICORN:
        sketch.add(*horns)
    sketch.add(*make_ears(traits, anatomy.head, coat), *build.head)
    sketch.add(*make_neckwear(traits.rarity, anatomy.collar, build.chest, coat, stream(seed, "jewels")))
    sketch.add(*build.front)
    sketch.add(*make_scuffs(traits.rarity, anatomy, build.chest, stream(seed, "scuffs")))
    sketch.add(*make_face(traits, anatomy, coat, stream(seed, "face")))
    sketch.add(*make_crown(traits.rarity, anatomy.head, stream(seed, "jewels")))
    if traits.horns is Horns.UNICORN:
        sketch.add(*horns)
    return sketch
