"""Where things are on a creature: the places that heads, wings, tails and ornaments attach to; it draws nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import skia

from tools.artist.shapes import Oval, Point
from tools.artist.sketch import Piece

GROUND: Final = 224.0


@dataclass(frozen=True)
class Anatomy:
    """The anchors of one creature in its own 256x256 drawing space, with the feet at y = 224.

    head: the oval that ears, horns and crests are rooted on.
    face: the oval that eyes and mouth are laid out in.
    collar: the lower half of this oval's rim is where a necklace or scarf hangs.
    wing_roots: the left and right place where wings grow from the back.
    tail_root: where a tail grows from, towards the upper right, turned clockwise by tail_turn degrees.
    """

    head: Oval
    face: Oval
    collar: Oval
    wing_roots: tuple[Point, Point]
    tail_root: Point
    tail_scale: float = 1.0
    tail_turn: float = 0.0
    turned: bool = False
    beak: bool = False


@dataclass(frozen=True)
class Build:
    """A body as four stacks of pieces, so that other things can go between them.

    rear goes behind the torso, torso behind ears and horns, head in front of those, and front over the head.
    chest is the outline that a necklace must not leave.
    """

    anatomy: Anatomy
    chest: skia.Path
    rear: list[Piece] = field(default_factory=list)
    torso: list[Piece] = field(default_factory=list)
    head: list[Piece] = field(default_factory=list)
    front: list[Piece] = field(default_factory=list)
