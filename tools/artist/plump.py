"""Bodies that are all head: round, slime, egg and bird; faces, ears and ornaments are not drawn here."""

from __future__ import annotations

import math
import random

import skia

from tools.artist.anatomy import GROUND, Anatomy, Build
from tools.artist.coat import Coat
from tools.artist.palette import BEAK, ELEMENTS, WHITE, Ramp, Tint
from tools.artist.shapes import Oval, Point, blob, closed, curve, ellipse, leaf, mirrored, polygon, ribbon, union
from tools.artist.sketch import Mark, Part, Piece
from tools.artist.traits import Colour, Element


def wisp_skirt(coat: Coat, top: float, half_width: float) -> Part:
    """Make the trailing hem a ghost has instead of feet, from a height down past the ground about the middle line."""
    low, lap = GROUND + 16, GROUND + 1
    half = (
        (1.0, top),
        (1.08, GROUND - 16),
        (1.18, low - 11),
        (0.93, low),
        (0.64, low - 7),
        (0.48, lap),
        (0.32, low - 3),
    )
    edge = [(-share, y) for share, y in half] + [(0.0, low + 6)] + list(half[::-1])
    path = blob([(128 + share * half_width, y) for share, y in edge], 0.9)
    tones = ELEMENTS[Element.GHOST]
    mist = Mark(skia.Path.Rect(skia.Rect.MakeLTRB(0, GROUND - 26, 256, low)), tones.light.fade(0.0), lower=tones.light)
    return coat.part(path, mist)


def _arm(coat: Coat, shoulder: Point, raised: float) -> Part:
    """Make a stubby arm on the left side; raised runs from 0 (hanging) to 1 (cheering)."""
    x, y = shoulder
    return coat.part(ellipse(x - 6 - 4 * raised, y + 10 - 24 * raised, 12, 20, 38 - 78 * raised - 8))


def _arms(coat: Coat, shoulder: Point, rng: random.Random) -> list[Piece]:
    """Make both arms in one of four poses: hanging, cheering, or waving left or right."""
    poses = ((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
    left, right = rng.choice(poses)
    near = _arm(coat, shoulder, left)
    far = _arm(coat, shoulder, right)
    return [near, coat.part(mirrored(far.path))]


def _feet(coat: Coat, spread: float, half_width: float = 23.0) -> list[Piece]:
    """Make two feet with toe lines, that far from the middle line."""
    pieces: list[Piece] = []
    for side in (-1, 1):
        x = 128 + side * spread
        pieces.append(coat.part(ellipse(x, GROUND - 12, half_width, 13)))
        for shift in (-6, 5):
            toe = curve(
                (x + shift, GROUND - 9), (x + shift, GROUND - 6), (x + shift, GROUND - 4), (x + shift, GROUND - 2)
            )
            pieces.append(Mark(toe, coat.ramp.ink, stroke=2.6))
    return pieces


def round_body(coat: Coat, element: Element, rng: random.Random) -> Build:
    """Build a ball with stubby arms and feet."""
    width, height = rng.uniform(66, 78), rng.uniform(61, 69)
    head = Oval(128, GROUND - 16 - height, width, height)
    path = blob(
        [head.rim(angle) for angle in (0, 45, 90)]
        + [
            (128 + width * 0.80, head.y + height * 0.74),
            (128, head.bottom),
            (128 - width * 0.80, head.y + height * 0.74),
        ]
        + [head.rim(angle) for angle in (270, 315)],
        0.98,
    )
    anatomy = Anatomy(
        head,
        face=Oval(128, head.y - 11, width * 0.82, height * 0.78),
        collar=Oval(128, head.y + 10, width * 1.02, 47),
        wing_roots=((80, head.y - 6), (176, head.y - 6)),
        tail_root=(176, head.y + 34),
    )
    belly = coat.belly(Oval(128, head.y + height * 0.72, width * 0.62, height * 0.46))
    body = coat.part(path, belly, region=head)
    build = Build(anatomy, path, head=[body], front=_arms(coat, (128 - width + 2, head.y + 18), rng))
    build.rear.extend([wisp_skirt(coat, head.y + 20, width * 0.72)] if element is Element.GHOST else _feet(coat, 34))
    return build


def _slime_outline(head: Oval, lean: float, rng: random.Random) -> skia.Path:
    """Outline a dome of goo that runs out below into drips of uneven length."""
    left, right, hem = 128 - head.half_width, 128 + head.half_width, GROUND - 34
    dome = blob(
        [
            (128 + lean, head.top), (right - 24, head.top + 16), (right - 3, head.y - 8), (right + 7, hem - 8),
            (right - 4, hem + 9), (128, hem + 4), (left + 4, hem + 9), (left - 7, hem - 8), (left + 3, head.y - 8),
            (left + 24, head.top + 16),
        ],
        0.95,
    )  # fmt: skip
    for share, end in zip((-0.93, -0.52, -0.12, 0.30, 0.66, 0.98), (-14, -3, -16, 0, -15, -7), strict=True):
        x, low = 128 + share * head.half_width, GROUND + end + rng.uniform(-4, 3)
        dome = union(dome, ribbon(((x, hem - 6), (x, low - 6)), (30, 23), steps=3))
    return dome


def _bubbles(head: Oval, rng: random.Random) -> list[Mark]:
    """Make the air bubbles near both sides of a slime."""
    marks = []
    for index in range(6):
        side = -1 if index % 2 else 1
        x, y = 128 + side * head.half_width * rng.uniform(0.76, 0.92), head.y + rng.uniform(-26, 6)
        radius = rng.uniform(3, 6)
        marks.append(Mark(ellipse(x, y, radius, radius), WHITE.fade(0.34)))
        marks.append(Mark(ellipse(x - 1.2, y - 1.4, radius * 0.35, radius * 0.35), WHITE.fade(0.85)))
    return marks


def slime_body(coat: Coat, element: Element, rng: random.Random) -> Build:
    """Build a wobbly dome of goo with bubbles that drips into a puddle."""
    width, height = rng.uniform(64, 75), rng.uniform(65, 74)
    head = Oval(128, GROUND - 70, width, height)
    path = _slime_outline(head, rng.uniform(-5, 5), rng)
    goo = ELEMENTS[element].light if element is Element.GHOST else coat.ramp.light.mix(WHITE, 0.15)
    hem = skia.Path.Rect(skia.Rect.MakeLTRB(0, GROUND - 62, 256, GROUND + 6))
    marks = [Mark(hem, goo.fade(0.0), lower=goo.fade(0.85)), *_bubbles(head, rng)]
    edge: list[Point] = []
    for index in range(18):
        angle, bulge = math.tau * index / 18, index % 2
        edge.append((128 + (width + 23 + bulge) * math.sin(angle), GROUND - 6 - (11 + 4 * bulge) * math.cos(angle)))
    puddle = blob(edge)
    tones = ELEMENTS[element] if element is Element.GHOST else coat.ramp
    anatomy = Anatomy(
        head,
        face=Oval(128, head.y - 9, width * 0.82, height * 0.70),
        collar=Oval(128, head.y + 9, width * 1.06, 36),
        wing_roots=((84, head.y), (172, head.y)),
        tail_root=(172, head.y + 30),
        tail_scale=0.95,
    )
    return Build(anatomy, path, rear=[Part(puddle, tones.darker())], head=[coat.part(path, *marks, region=head)])


def _shell(head: Oval, level: float, accent: Tint) -> Part:
    """Make the lower half of an eggshell with a jagged edge at that height."""
    shell = Oval(128, head.y + 4, head.half_width + 6, head.half_height + 2)
    whole = union(ellipse(*shell), ellipse(128, shell.y + 16, shell.half_width - 2, shell.half_height - 14))
    edge: list[Point] = []
    for index in range(9):
        edge.append((128 - 80 + index * 20, level + (-9 if index % 2 else 8)))
    mask = polygon([*edge, (210, 280), (46, 280)])
    path = skia.Op(whole, mask, skia.PathOp.kIntersect_PathOp)
    spots = ((88, 26, 8), (112, 40, 10), (148, 30, 7), (170, 14, 9), (140, 54, 6), (92, 50, 5))
    marks = tuple(Mark(ellipse(x, level + y, size, size * 0.85), accent.fade(0.75)) for x, y, size in spots)
    cream = Tint(1.0, 0.98, 0.93)
    shade = Tint(0.86, 0.78, 0.76)
    return Part(path, Ramp(WHITE, cream, shade, Tint(0.32, 0.2, 0.2), cream), marks)


def egg_body(coat: Coat, element: Element, rng: random.Random) -> Build:
    """Build a hatchling that still sits in the lower half of its shell."""
    width, height = rng.uniform(54, 62), rng.uniform(71, 80)
    head = Oval(128, GROUND - 14 - height, width, height)
    path = blob([head.rim(0), head.rim(38, 3), (128 + width, head.y + 8), (128 + width * 0.78, head.y + height * 0.66),
                 head.rim(180), (128 - width * 0.78, head.y + height * 0.66), (128 - width, head.y + 8),
                 head.rim(322, 3)])  # fmt: skip
    level = head.y + 34
    anatomy = Anatomy(
        Oval(128, head.y - 18, width - 3, height - 18),
        face=Oval(128, head.y - 20, width * 0.86, height * 0.60),
        collar=Oval(128, head.y + 6, width * 1.02, 35),
        wing_roots=((86, head.y + 6), (170, head.y + 6)),
        tail_root=(166, head.y + 48),
        tail_scale=0.95,
    )
    shell = _shell(head, level, coat.accent if coat.colour is Colour.WHITE else coat.ramp.base)
    build = Build(anatomy, path, head=[coat.part(path, region=head), shell])
    for side in (-1, 1):
        build.front.append(coat.part(ellipse(128 + side * (width - 6), level - 4, 11, 15, side * 24)))
    build.rear.extend(
        [wisp_skirt(coat, head.y + 40, width * 0.66)] if element is Element.GHOST else _feet(coat, 27, 20)
    )
    return build


def _bird_leg(x: float) -> list[Piece]:
    """Make a thin leg with three long toes below (x, ground)."""
    shin = Part(polygon([(x - 4, GROUND - 30), (x + 4, GROUND - 30), (x + 4, GROUND - 8), (x - 4, GROUND - 8)]), BEAK)
    toes = [leaf((x, GROUND - 12), (x + reach, GROUND + 1), 11) for reach in (-20, 20)]
    foot = union(union(toes[0], toes[1]), leaf((x, GROUND - 14), (x, GROUND + 4), 11))
    return [shin, Part(foot, BEAK, line=2.8)]


def _folded_wing(coat: Coat, y: float, half_width: float) -> Part:
    """Make the left wing, folded against the side with three feather tips."""
    x = 128 - half_width
    path = closed(
        (x + 12, y - 22),
        (x - 16, y - 18), (x - 24, y + 12), (x - 18, y + 44),
        (x - 12, y + 44), (x - 8, y + 40), (x - 6, y + 36),
        (x - 2, y + 42), (x + 4, y + 40), (x + 6, y + 30),
        (x + 14, y + 34), (x + 20, y + 26), (x + 20, y + 16),
        (x + 26, y - 4), (x + 24, y - 20), (x + 12, y - 22),
    )  # fmt: skip
    return coat.part(path)


def bird_body(coat: Coat, element: Element, rng: random.Random) -> Build:
    """Build a plump chick with side wings, tail feathers and thin legs."""
    width = rng.uniform(60, 70)
    head = Oval(128, 112, rng.uniform(51, 54), 52)
    path = blob([(128, head.top), (128 + head.half_width * 0.86, 84), (128 + head.half_width + 2, 122),
                 (128 + width, 162), (128 + width * 0.62, 196), (128, 206), (128 - width * 0.62, 196),
                 (128 - width, 162), (128 - head.half_width - 2, 122), (128 - head.half_width * 0.86, 84)])  # fmt: skip
    anatomy = Anatomy(
        head,
        face=Oval(128, 106, 48, 42),
        collar=Oval(128, 142, width, 34),
        wing_roots=((82, 142), (174, 142)),
        tail_root=(176, 184),
        tail_scale=0.9,
        beak=True,
    )
    breast = coat.belly(Oval(128, 180, width * 0.66, 36))
    marks = [breast]
    for x, y in ((112, 168), (144, 168), (128, 182)):
        marks.append(
            Mark(curve((x - 7, y), (x - 5, y + 6), (x + 5, y + 6), (x + 7, y)), coat.ramp.shade.fade(0.6), stroke=2.6)
        )
    region = Oval(128, 140, width, 78)
    build = Build(anatomy, path, head=[coat.part(path, *marks, region=region)])
    if element is Element.GHOST:
        build.rear.append(wisp_skirt(coat, 170, 42))
    else:
        build.rear.extend(_bird_leg(106) + _bird_leg(150))
    wing = _folded_wing(coat, 150, width - 2)
    build.front.extend([wing, coat.part(mirrored(wing.path))])
    return build
