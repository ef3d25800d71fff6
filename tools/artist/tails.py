"""Tails, each drawn from a root at the origin towards the upper right; a serpent's own body is not a tail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tools.artist.anatomy import Anatomy
from tools.artist.coat import Coat
from tools.artist.palette import Ramp
from tools.artist.shapes import blob, closed, curve, placed, ribbon
from tools.artist.sketch import Mark, Part, settle
from tools.artist.traits import Tail


def _curly(coat: Coat) -> list[Part]:
    spine = ((-14, 12), (16, 16), (44, 4), (52, -24), (36, -42), (17, -30), (24, -15), (33, -20))
    return [coat.part(ribbon(spine, (22, 20, 18, 16, 14, 12, 10, 8)))]


def _devil(coat: Coat) -> list[Part]:
    line = ribbon(((-14, 12), (18, 18), (42, 2), (38, -24), (50, -42)), (15, 13, 11, 10, 9))
    spade = closed(
        (56, -50),
        (48, -50), (40, -44), (31, -37), (34, -56), (48, -72), (56, -94),
        (64, -72), (78, -56), (81, -37), (72, -44), (64, -50), (56, -50),
    )  # fmt: skip
    return [coat.part(line), coat.part(placed(spade, turn=10, pivot=(52, -40)))]


def _fluffy(coat: Coat) -> list[Part]:
    path = blob([(-12, 22), (-8, -4), (10, -16), (14, -48), (32, -66), (54, -70), (74, -52), (76, -24), (66, 4),
                 (44, 24), (14, 32)], 1.0)  # fmt: skip
    tip = blob([(20, -56), (30, -40), (42, -48), (52, -32), (62, -42), (74, -28), (92, -40), (84, -80), (48, -90),
                (14, -76)], 0.5)  # fmt: skip
    tufts = [Mark(curve((26, 6), (32, 0), (36, -8), (36, -16)), coat.ramp.shade.fade(0.7), stroke=3),
             Mark(curve((44, 10), (52, 2), (56, -6), (56, -14)), coat.ramp.shade.fade(0.7), stroke=3)]  # fmt: skip
    return [coat.part(path, Mark(tip, coat.ramp.belly), *tufts)]


def _fish(coat: Coat) -> list[Part]:
    stem = ribbon(((-14, 14), (16, 16), (40, 0), (46, -18)), (26, 22, 17, 14))
    fluke = closed(
        (40, -14),
        (20, -18), (10, -44), (14, -66), (28, -60), (40, -52), (48, -40),
        (58, -54), (74, -60), (90, -58), (90, -36), (76, -14), (52, -12), (48, -8), (42, -10), (40, -14),
    )  # fmt: skip
    fin = coat.accent.mix(coat.ramp.light, 0.15)
    ramp = Ramp(coat.ramp.light, fin, coat.accent.turn(value=0.74), coat.ramp.ink, coat.ramp.belly)
    rays = [Mark(curve((46, -20), (40, -32), (30, -44), (22, -54)), ramp.shade, stroke=2.8),
            Mark(curve((50, -20), (58, -32), (68, -42), (80, -48)), ramp.shade, stroke=2.8),
            Mark(curve((42, -18), (32, -26), (24, -34), (18, -42)), ramp.shade, stroke=2.8),
            Mark(curve((54, -18), (64, -26), (74, -32), (84, -36)), ramp.shade, stroke=2.8)]  # fmt: skip
    return [coat.part(stem), Part(fluke, ramp, tuple(rays))]


def _tail_feathers(coat: Coat) -> list[Part]:
    """Make the three short feathers a bird has in place of a tail."""
    parts = []
    for turn in (64, 84, 104):
        feather = ribbon(((0, 4), (0, -24), (0, -44)), (18, 22, 17))
        parts.append(coat.part(placed(feather, turn=turn)))
    return parts


MAKERS: Final[Mapping[Tail, Callable[[Coat], list[Part]]]] = MappingProxyType(
    {Tail.CURLY: _curly, Tail.DEVIL: _devil, Tail.FLUFFY: _fluffy, Tail.FISH: _fish}
)


# How many degrees lower a tail is held under wings.
WINGED_TURN: Final = 24.0


def make_tail(kind: Tail, anatomy: Anatomy, coat: Coat, winged: bool) -> list[Part]:
    """Make the tail at its root in the anatomy's 256x256 drawing space; a bird without one has tail feathers.

    Under wings a tail is held lower, so that it shows.
    """
    maker = MAKERS.get(kind)
    if maker is None:
        if not anatomy.beak:
            return []
        maker = _tail_feathers
    turn = anatomy.tail_turn + (WINGED_TURN if winged else 0.0)
    return [settle(part, anatomy.tail_root, turn=turn, scale=anatomy.tail_scale) for part in maker(coat)]
