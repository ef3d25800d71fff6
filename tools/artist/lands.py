"""The backdrops by daylight: meadow, forest, snow, desert and plain; each paints the whole 256x256 frame."""

from __future__ import annotations

import random

import skia

from tools.artist.landforms import (
    paint_cloud,
    paint_fir,
    paint_flower,
    paint_glow,
    paint_ground,
    paint_mountain,
    paint_sky,
    paint_sun,
    paint_tuft,
    sides,
)
from tools.artist.palette import WHITE, tint
from tools.artist.shapes import ellipse, polygon, ribbon, union
from tools.artist.sketch import brush, linear, radial


def paint_meadow(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint rolling hills with flowers under a blue sky."""
    paint_sky(canvas, "5cb8ff", "a9e0ff", "eafbff")
    paint_sun(canvas, (rng.choice((44.0, 212.0)), 42), 21, "fff3a8", "fff6c9")
    for _ in range(3):
        paint_cloud(canvas, (rng.uniform(20, 236), rng.uniform(34, 110)), rng.uniform(13, 20), WHITE.fade(0.88))
    paint_ground(canvas, 168, "a6dd8c", "8fd07a", rng, 16)
    paint_ground(canvas, 188, "86d05f", "5fb84f", rng, 8)
    paint_ground(canvas, 208, "74c94d", "3f9a48", rng, 4)
    petals = ("ffffff", "ff9ac4", "ffd65c", "c7a2ff")
    for _ in range(11):
        x, y = rng.uniform(4, 252), rng.uniform(206, 250)
        paint_tuft(canvas, (x, y), rng.uniform(7, 11), tint("2f8a43"))
    for _ in range(9):
        x = rng.choice(sides(rng, 74))
        paint_flower(canvas, (x, rng.uniform(204, 248)), rng.uniform(4.5, 7), tint(rng.choice(petals)))


def paint_forest(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint misty rows of firs, light shafts and mushrooms."""
    paint_sky(canvas, "d8f3b6", "a7dba0", "6db583")
    for count, foot, height, colour in ((9, 176, 92, "9cd3a0"), (7, 192, 128, "63ab80")):
        for index in range(count):
            x = (index + rng.uniform(0.1, 0.9)) * 256 / count
            paint_fir(canvas, (x, foot), height * rng.uniform(0.85, 1.15), tint(colour))
    paint_glow(canvas, (128, 110), 120, tint("f3ffd0").fade(0.75))
    for x in (rng.uniform(-10, 60), rng.uniform(110, 190)):
        canvas.drawPath(polygon([(x, 0), (x + 30, 0), (x + 92, 220), (x + 40, 220)]), brush(tint("fdffdd").fade(0.22)))
    for x, height in ((rng.uniform(0, 14), 196), (rng.uniform(242, 256), 208)):
        paint_fir(canvas, (x, 226), height, tint("2d7a62"))
    paint_ground(canvas, 206, "5fae5c", "2b7350", rng, 5)
    for x in sides(rng, 58):
        _paint_mushroom(canvas, x, rng.uniform(224, 246), rng.uniform(8, 12))
    for _ in range(9):
        paint_tuft(canvas, (rng.uniform(2, 254), rng.uniform(214, 252)), rng.uniform(8, 13), tint("1f6148"))


def _paint_mushroom(canvas: skia.Canvas, x: float, y: float, size: float) -> None:
    """Paint a red mushroom with white dots standing at (x, y)."""
    canvas.drawPath(ribbon(((x, y - size), (x, y)), (size * 0.6, size * 0.8), steps=2), brush(tint("fff1d9")))
    half_disc = skia.Path()
    half_disc.addArc(skia.Rect.MakeLTRB(x - size, y - size * 2, x + size, y - size * 0.2), 180, 180)
    half_disc.close()
    canvas.drawPath(half_disc, brush(tint("e2504f")))
    for dx, dy in ((-0.5, -1.35), (0.1, -1.62), (0.55, -1.3)):
        canvas.drawPath(ellipse(x + dx * size, y + dy * size, size * 0.16, size * 0.13), brush(WHITE))


def paint_snow(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint snowy peaks and firs under falling flakes."""
    paint_sky(canvas, "86bdf0", "bfe0fb", "f3faff")
    for x, y, half in ((rng.uniform(20, 70), 84, 104), (rng.uniform(186, 240), 66, 118), (128, 118, 90)):
        paint_mountain(canvas, (x, y), half, 206, tint("a3c2e8" if y < 100 else "bcd5f2"), WHITE)
    paint_ground(canvas, 184, "e4f1fd", "d0e4f8", rng, 7)
    for x in (*sides(rng, 44), *sides(rng, 30)):
        paint_fir(canvas, (x, rng.uniform(196, 212)), rng.uniform(62, 96), tint("5d97a8"), WHITE)
    paint_ground(canvas, 208, "ffffff", "cfe2f7", rng, 5)
    for _ in range(30):
        radius = rng.uniform(1.2, 3.4)
        canvas.drawCircle(rng.uniform(2, 254), rng.uniform(2, 244), radius, brush(WHITE.fade(rng.uniform(0.6, 0.95))))


def paint_desert(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint dunes, table mountains and cacti under a hot sky."""
    paint_sky(canvas, "63c3ea", "bfe8e6", "ffeec2")
    paint_sun(canvas, (rng.choice((48.0, 208.0)), 46), 23, "fff7cf", "fff0b0")
    for x in sides(rng, 70):
        top, half = rng.uniform(118, 142), rng.uniform(26, 38)
        mesa = [(x - half, 190), (x - half * 0.7, top), (x + half * 0.66, top - 3), (x + half, 190)]
        canvas.drawPath(polygon(mesa), linear((x - half, 0), (x + half, 0), (tint("eba177"), tint("cf7a5e"))))
    paint_ground(canvas, 178, "f8d592", "eeb96b", rng, 10)
    paint_ground(canvas, 196, "f5c878", "e3a353", rng, 8)
    for x in sides(rng, 40):
        _paint_cactus(canvas, x, rng.uniform(206, 222), rng.uniform(44, 66))
    paint_ground(canvas, 214, "f7d088", "d9934a", rng, 5)


def _paint_cactus(canvas: skia.Canvas, x: float, y: float, height: float) -> None:
    """Paint a cactus with two arms standing at (x, y)."""
    width = height * 0.24
    path = ribbon(((x, y), (x, y - height)), (width, width), steps=2)
    for side, level in ((-1, 0.36), (1, 0.52)):
        bend = ((x, y - height * level), (x + side * width * 1.2, y - height * level),
                (x + side * width * 1.3, y - height * (level + 0.28)))  # fmt: skip
        path = union(path, ribbon(bend, (width * 0.66, width * 0.66, width * 0.62)))
    canvas.drawPath(path, linear((x - width * 2, 0), (x + width * 2, 0), (tint("6fc07a"), tint("35875f"))))


def paint_plain(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint a plain pastel studio with a round light behind the creature."""
    pairs = (
        ("fdf0f5", "f3b8d0"),
        ("eefaf3", "a9dcc0"),
        ("eef3ff", "b0c3f2"),
        ("fff8e3", "f5d493"),
        ("f5efff", "c9b2f0"),
    )
    inner, outer = rng.choice(pairs)
    frame = skia.Rect.MakeWH(256, 256)
    canvas.drawRect(frame, radial((128, 118), 190, (tint(inner), tint(inner).mix(tint(outer), 0.55), tint(outer))))
    canvas.drawCircle(128, 122, 100, brush(WHITE.fade(0.38)))
    floor = skia.Path()
    floor.addOval(skia.Rect.MakeLTRB(-60, 204, 316, 330))
    canvas.drawPath(floor, brush(tint(outer).mix(WHITE, 0.25)))
