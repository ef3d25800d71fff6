"""Bodies with a head of their own: biped, quadruped and serpent; faces, ears and ornaments are not drawn here."""

from __future__ import annotations

import random

from tools.artist.anatomy import GROUND, Anatomy, Build
from tools.artist.coat import Coat
from tools.artist.palette import ELEMENTS
from tools.artist.plump import wisp_skirt
from tools.artist.shapes import Oval, Point, blob, curve, ellipse, mirrored, placed, ribbon
from tools.artist.sketch import Mark, Part, Piece
from tools.artist.traits import Element

ARM_POSES: tuple[tuple[Point, ...], ...] = (
    ((100, 150), (82, 162), (74, 180)),
    ((100, 152), (78, 152), (62, 132)),
    ((100, 152), (80, 168), (98, 182)),
)


def _head_part(coat: Coat, head: Oval, jowl: float) -> Part:
    """Make a head with full cheeks; jowl widens it below the middle."""
    path = blob([head.rim(angle) for angle in (0, 48)]
                + [(head.x + head.half_width + jowl, head.y + 6), (head.x + head.half_width * 0.66, head.bottom - 5),
                   (head.x, head.bottom), (head.x - head.half_width * 0.66, head.bottom - 5),
                   (head.x - head.half_width - jowl, head.y + 6)]
                + [head.rim(312)])  # fmt: skip
    muzzle = coat.belly(Oval(head.x, head.y + head.half_height * 0.56, head.half_width * 0.5, head.half_height * 0.34))
    return coat.part(path, muzzle, region=head)


def biped_body(coat: Coat, element: Element, rng: random.Random) -> Build:
    """Build a big head on a small pear-shaped torso with arms and legs."""
    head = Oval(128, 98, rng.uniform(57, 66), rng.uniform(49, 54))
    wide = rng.uniform(34, 42)
    torso_path = blob([(128, 132), (128 + wide * 0.72, 142), (128 + wide, 182), (128 + wide * 0.7, 206),
                       (128, 212), (128 - wide * 0.7, 206), (128 - wide, 182), (128 - wide * 0.72, 142)])  # fmt: skip
    region = Oval(128, 174, wide, 40)
    torso = coat.part(torso_path, coat.belly(Oval(128, 184, wide * 0.66, 25)), region=region)
    anatomy = Anatomy(
        head,
        face=Oval(128, head.y + 2, head.half_width * 0.86, head.half_height * 0.86),
        collar=Oval(128, 144, wide * 0.92, 15),
        wing_roots=((106, 156), (150, 156)),
        tail_root=(152, 194),
    )
    build = Build(anatomy, torso_path, torso=[torso], head=[_head_part(coat, head, 4)])
    if element is Element.GHOST:
        build.rear.append(wisp_skirt(coat, 176, 37))
    else:
        for side in (-1, 1):
            build.rear.append(coat.part(ellipse(128 + side * 22, GROUND - 22, 17, 20)))
            build.torso.append(coat.part(ellipse(128 + side * 26, GROUND - 9, 20, 12)))
    left, right = rng.choice(ARM_POSES), rng.choice(ARM_POSES)
    build.torso.append(coat.part(ribbon(left, (17, 17, 20))))
    build.torso.append(coat.part(mirrored(ribbon(right, (17, 17, 20)))))
    return build


def _leg(coat: Coat, x: float, top: float, element: Element, far: bool) -> list[Piece]:
    """Make a sturdy leg with a paw from a height down to the ground; a ghost's paws glow."""
    ground = GROUND - (7 if far else 0)
    path = blob([(x - 14, top), (x + 14, top), (x + 13, ground - 22), (x + 17, ground - 8), (x + 10, ground),
                 (x - 12, ground), (x - 20, ground - 7), (x - 14, ground - 22)], 0.8)  # fmt: skip
    tone = ELEMENTS[element].base if element is Element.GHOST else coat.ramp.belly
    sock = Mark(ellipse(x - 2, ground - 2, 26, 15 if element is not Element.GHOST else 26), tone.fade(0.85))
    pieces: list[Piece] = [coat.part(path, sock, far=far)]
    for shift in (-9, -1):
        line = curve((x + shift, ground - 8), (x + shift, ground - 6), (x + shift, ground - 4), (x + shift, ground - 3))
        pieces.append(Mark(line, coat.ramp.ink, stroke=2.4))
    return pieces


def quadruped_body(coat: Coat, element: Element, rng: random.Random) -> Build:
    """Build a four-legged creature in three-quarter view, looking to the left."""
    head = Oval(100, 112, rng.uniform(52, 60), rng.uniform(46, 51))
    trunk = Oval(154, 168, rng.uniform(56, 60), 37)
    path = blob([(104, 148), (140, trunk.top + 2), (180, trunk.top + 1), (208, 148), (trunk.x + trunk.half_width, 172),
                 (200, 198), (154, trunk.bottom), (110, 202), (94, 180)], 0.95)  # fmt: skip
    torso = coat.part(path, coat.belly(Oval(112, 188, 30, 30)), region=trunk)
    anatomy = Anatomy(
        head,
        face=Oval(head.x - 4, head.y + 3, head.half_width * 0.84, head.half_height * 0.84),
        collar=Oval(112, 154, 33, 18),
        wing_roots=((138, 142), (166, 140)),
        tail_root=(208, 160),
        tail_scale=0.9,
        tail_turn=16,
        turned=True,
    )
    build = Build(anatomy, path, head=[_head_part(coat, head, 4)])
    build.rear.extend(_leg(coat, 136, 176, element, True) + _leg(coat, 178, 172, element, True))
    build.torso.extend([torso, *_leg(coat, 108, 184, element, False), *_leg(coat, 196, 178, element, False)])
    return build


def _scutes(coat: Coat, spine: tuple[Point, ...], width: float) -> list[Mark]:
    """Make the pale ladder of belly plates along a neck."""
    marks = [Mark(ribbon(spine, [width] * len(spine)), coat.ramp.belly.fade(0.95))]
    low, high = spine[0][1], spine[-1][1]
    rung = low - 6
    while rung > high:
        line = curve((60, rung), (110, rung + 5), (150, rung + 5), (200, rung))
        marks.append(Mark(line, coat.ramp.shade.fade(0.5), stroke=2.2, clip=marks[0].path))
        rung -= 9
    return marks


def _coil(coat: Coat, oval: Oval, tilt: float) -> Part:
    """Make one turn of the coiled body, a thick tube seen from the side and tilted by degrees."""
    left, right, thick = oval.x - oval.half_width, oval.x + oval.half_width, oval.half_height
    spine = ((left + thick, oval.y - 3), (oval.x, oval.y + 3), (right - thick, oval.y - 3))
    path = placed(ribbon(spine, (2 * thick - 2, 2 * thick, 2 * thick - 2)), turn=tilt, pivot=(oval.x, oval.y))
    return coat.part(path, region=oval)


def serpent_body(coat: Coat, element: Element, rng: random.Random) -> Build:
    """Build a snake: two coils, a raised neck, a broad head and a tail that curls up at the right."""
    sway = rng.uniform(-6, 6)
    head = Oval(120 + sway, 84, rng.uniform(52, 60), rng.uniform(42, 47))
    low, high = Oval(126, 200, 78, 24), Oval(132, 170, 60, 22)
    neck: tuple[Point, ...] = ((126, 204), (110 - sway, 166), (120 + sway, 132), (120 + sway, 100))
    tail_spine = ((150, 212), (196, 210), (228, 190), (228, 162))
    tones = ELEMENTS[Element.GHOST] if element is Element.GHOST else coat.ramp
    tail = Part(ribbon(tail_spine, (40, 32, 20, 8)), tones)
    neck_path = ribbon(neck, (56, 50, 44, 44))
    neck_part = coat.part(neck_path, *_scutes(coat, neck, 25), region=Oval(122, 150, 46, 44))
    anatomy = Anatomy(
        head,
        face=Oval(head.x, head.y + 2, head.half_width * 0.84, head.half_height * 0.88),
        collar=Oval(118 + sway * 0.5, 134, 26, 12),
        wing_roots=((104, 150), (138, 150)),
        tail_root=(228, 164),
        tail_scale=0.8,
    )
    torso: list[Piece] = [_coil(coat, high, -7), neck_part, _coil(coat, low, 3)]
    return Build(anatomy, neck_path, rear=[tail], torso=torso, head=[_head_part(coat, head, 6)])
