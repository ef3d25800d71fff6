"""What an element adds to a creature: the crest on its head and the signs that float around it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tools.artist.anatomy import Anatomy
from tools.artist.coat import Coat
from tools.artist.icons import BOLT, bolt, crystal, flame, leaf_sign, snowflake, water_drop, wisp
from tools.artist.palette import ELEMENTS, WHITE
from tools.artist.shapes import Oval, Point, closed, curve, leaf, mirrored, placed, polygon, ribbon, union
from tools.artist.sketch import Mark, Part, settle
from tools.artist.traits import Element, Rarity, Traits


def _top(head: Oval, sink: float) -> Point:
    return head.x, head.top + sink


def _fire_crest(head: Oval, coat: Coat, crowned: bool) -> list[Part]:
    return [settle(flame(1.36), _top(head, 12))]


def _side_fin(head: Oval) -> Part:
    """Make the left ear fin of a water creature."""
    tones = ELEMENTS[Element.WATER]
    path = closed((8, -14), (-10, -26), (-26, -30), (-36, -26), (-30, -18), (-30, -12), (-34, -4), (-28, 0), (-28, 6),
                  (-30, 14), (-18, 16), (-4, 16), (8, 14))  # fmt: skip
    rays = tuple(Mark(curve((4, y * 0.3), (-8, y * 0.5), (-16, y * 0.8), (-25, y)), tones.shade, stroke=2.6)
                 for y in (-18, -3, 10))  # fmt: skip
    return settle(Part(path, tones, rays), head.rim(-97, 3))


def _water_crest(head: Oval, coat: Coat, crowned: bool) -> list[Part]:
    tones = ELEMENTS[Element.WATER]
    wave = closed(
        (-32, 8),
        (-34, -20), (-22, -46), (6, -54), (26, -58), (38, -42), (32, -30),
        (28, -22), (16, -22), (14, -30), (6, -24), (10, -10), (30, 8),
    )  # fmt: skip
    foam = Mark(curve((-22, 0), (-22, -22), (-10, -38), (12, -44)), WHITE.fade(0.85), stroke=4.6)
    stream = Mark(curve((-8, 6), (-8, -12), (-4, -24), (6, -32)), tones.shade.fade(0.75), stroke=4.0)
    fin = _side_fin(head)
    other = Part(mirrored(fin.path, head.x), fin.ramp,
                 tuple(Mark(mirrored(ray.path, head.x), ray.tint, stroke=ray.stroke) for ray in fin.marks))  # fmt: skip
    return [fin, other, settle(Part(wave, tones, (foam, stream)), _top(head, 9))]


def _grass_crest(head: Oval, coat: Coat, crowned: bool) -> list[Part]:
    tones = ELEMENTS[Element.GRASS]
    stalk = Part(ribbon(((0, 12), (1, -8), (0, -20)), (11, 9, 8)), tones.darker())
    parts = [stalk]
    root = (0.0, -16.0)
    for tip, width in (((-42.0, -40.0), 34), ((44.0, -34.0), 30)):
        middle = (tip[0] / 2, (root[1] + tip[1]) / 2 - 3)
        rib = Mark(curve(root, root, middle, (tip[0] * 0.8, tip[1] * 0.86)), tones.shade, stroke=3.0)
        parts.append(Part(leaf(root, tip, width), tones, (rib,)))
    bud = Part(leaf((0, -12), (2, -52), 20), tones)
    return [settle(part, _top(head, 2)) for part in (parts[0], bud, *parts[1:])]


def _electric_crest(head: Oval, coat: Coat, crowned: bool) -> list[Part]:
    tones = ELEMENTS[Element.ELECTRIC]
    parts = []
    for turn, scale, shift in ELECTRIC_FAN[2:] if crowned else ELECTRIC_FAN:
        path = placed(polygon(BOLT), scale=scale, flip=turn < 0, move=(0, -16 * scale))
        parts.append(settle(Part(placed(path, turn=turn), tones), (head.x + shift, head.top + 9 + abs(shift) * 0.25)))
    return parts


def _ghost_crest(head: Oval, coat: Coat, crowned: bool) -> list[Part]:
    return [settle(flame(1.36, tones=ELEMENTS[Element.GHOST]), _top(head, 12), flip=True)]


def _ice_crest(head: Oval, coat: Coat, crowned: bool) -> list[Part]:
    sizes = ((42, 20, -46, -20), (42, 20, 46, 20), (54, 22, -22, -10), (54, 22, 22, 10), (66, 25, 0, 0))
    return [
        settle(crystal(height, width, turn), (head.x + shift, head.top + 10)) for height, width, turn, shift in sizes
    ]


def _normal_crest(head: Oval, coat: Coat, crowned: bool) -> list[Part]:
    tuft = leaf((0, 14), (4, -42), 25)
    for tip, width in (((-26, -24), 22), ((30, -26), 22)):
        tuft = union(tuft, leaf((tip[0] * 0.2, 14), tip, width))
    return [coat.part(placed(tuft, move=_top(head, 4)))]


# How far a circlet or crown pushes the crest up.
CREST_LIFT: Final[Mapping[Rarity, float]] = MappingProxyType({Rarity.S: 4.0, Rarity.S_PLUS: 15.0})

# Turn, size and sideways place of the bolts on an electric head.
ELECTRIC_FAN: Final = ((-14, 1.2, -25), (14, 1.2, 25), (4, 1.9, 0))

CRESTS: Final[Mapping[Element, Callable[[Oval, Coat, bool], list[Part]]]] = MappingProxyType(
    {
        Element.FIRE: _fire_crest,
        Element.WATER: _water_crest,
        Element.GRASS: _grass_crest,
        Element.ELECTRIC: _electric_crest,
        Element.GHOST: _ghost_crest,
        Element.ICE: _ice_crest,
        Element.NORMAL: _normal_crest,
    }
)

SIGNS: Final[Mapping[Element, Callable[[float], Part]]] = MappingProxyType(
    {
        Element.FIRE: lambda scale: settle(flame(scale * 0.78), (0, 20 * scale)),
        Element.WATER: water_drop,
        Element.GRASS: leaf_sign,
        Element.ELECTRIC: bolt,
        Element.GHOST: wisp,
        Element.ICE: snowflake,
    }
)


def make_crest(traits: Traits, anatomy: Anatomy, coat: Coat) -> list[Part]:
    """Make the element's crest, to be painted behind the head."""
    lift = CREST_LIFT.get(traits.rarity, 0.0)
    head = anatomy.head._replace(y=anatomy.head.y - lift)
    return CRESTS[traits.element](head, coat, lift > 0)


def make_sign(element: Element, place: Point, rng: random.Random) -> Part | None:
    """Make one floating sign of the element, about 40 units across; None for the normal element."""
    maker = SIGNS.get(element)
    if maker is None:
        return None
    return settle(maker(rng.uniform(0.88, 1.06)), place, turn=rng.uniform(-14, 14))
