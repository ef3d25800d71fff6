"""The darker backdrops: night sky, underwater, volcano, cave and sunset; each paints the whole 256x256 frame."""

from __future__ import annotations

import random

import skia

from tools.artist.icons import crystal_path
from tools.artist.landforms import (
    paint_cloud,
    paint_glow,
    paint_ground,
    paint_mountain,
    paint_sky,
    paint_stars,
    paint_sun,
    sides,
)
from tools.artist.palette import WHITE, Tint, tint
from tools.artist.shapes import closed, ellipse, placed, polygon, ribbon, star
from tools.artist.sketch import brush, linear, radial


def paint_night_sky(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint a starry sky with a large moon over dark hills."""
    paint_sky(canvas, "141a4a", "2f2c78", "6a4aa8", "b377c4")
    for _ in range(3):
        paint_glow(canvas, (rng.uniform(0, 256), rng.uniform(20, 130)), rng.uniform(50, 80), tint("8f7bff").fade(0.26))
    paint_stars(canvas, 46, 165, rng, tint("fff8dc"))
    x = rng.choice((48.0, 208.0))
    paint_sun(canvas, (x, 48), 25, "fff4cf", "cfc4ff")
    for dx, dy, radius in ((-8, -6, 5), (7, 3, 6), (-4, 11, 3.5), (9, -11, 3)):
        canvas.drawCircle(x + dx, 48 + dy, radius, brush(tint("ecdcae")))
    paint_ground(canvas, 186, "4a3d8c", "392f74", rng, 14)
    paint_ground(canvas, 204, "3a3378", "262457", rng, 7)
    paint_ground(canvas, 216, "332f70", "1d1c48", rng, 4)


def paint_underwater(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint a lagoon with light shafts, coral, kelp and bubbles."""
    paint_sky(canvas, "7fe3ee", "38b3dc", "2479c0", "1c4f9c")
    for shaft_x in (-20, 50, 120, 190):
        left = shaft_x + rng.uniform(-15, 15)
        shaft = polygon([(left + 30, 0), (left + 56, 0), (left + 30, 240), (left - 40, 240)])
        canvas.drawPath(shaft, linear((0, 0), (0, 230), (WHITE.fade(0.26), WHITE.fade(0.0))))
    paint_ground(canvas, 196, "2f86b8", "2a6aa6", rng, 12)
    for x in (*sides(rng, 46), *sides(rng, 34)):
        sway, top = rng.uniform(-14, 14), rng.uniform(128, 170)
        kelp = ribbon(((x, 226), (x + sway, (226 + top) / 2 + 16), (x - sway, (226 + top) / 2 - 14), (x + sway, top)),
                      (9, 10, 9, 3))  # fmt: skip
        canvas.drawPath(kelp, linear((0, top), (0, 226), (tint("4fd0a0"), tint("1b7f80"))))
    for x in sides(rng, 40):
        _paint_coral(canvas, x, rng.uniform(214, 228), tint(rng.choice(("ff7f9c", "ff9f5c", "c98bff"))))
    paint_ground(canvas, 218, "f0dca8", "c9a572", rng, 5)
    canvas.drawPath(star(rng.choice(sides(rng, 50)), 240, 9, 4.5, 5, rng.uniform(0, 70)), brush(tint("ff8f6b")))
    for _ in range(13):
        x, y, radius = rng.uniform(6, 250), rng.uniform(8, 205), rng.uniform(2.5, 7.5)
        canvas.drawCircle(x, y, radius, brush(WHITE.fade(0.2)))
        canvas.drawCircle(x, y, radius, brush(WHITE.fade(0.65), 1.4))
        canvas.drawCircle(x - radius * 0.35, y - radius * 0.35, radius * 0.25, brush(WHITE.fade(0.9)))


def _paint_coral(canvas: skia.Canvas, x: float, y: float, colour: Tint) -> None:
    """Paint a branching coral standing at (x, y)."""
    for spine in (
        ((x, y), (x, y - 44)),
        ((x, y - 14), (x - 14, y - 22), (x - 17, y - 40)),
        ((x, y - 20), (x + 14, y - 28), (x + 15, y - 48)),
        ((x, y - 4), (x + 20, y - 8), (x + 27, y - 24)),
    ):
        canvas.drawPath(ribbon(spine, [10.0, 9.0, 7.0][: len(spine)]), brush(colour))  # fmt: skip


def paint_volcano(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint an erupting volcano, lava and embers."""
    paint_sky(canvas, "3c1538", "8a2340", "e2552f", "ffb054")
    x = rng.choice((70.0, 186.0))
    paint_glow(canvas, (x, 88), 96, tint("ffcf5c").fade(0.8))
    for _ in range(4):
        paint_cloud(
            canvas, (x + rng.uniform(-50, 50), rng.uniform(28, 66)), rng.uniform(16, 26), tint("4c2140").fade(0.7)
        )
    cone = closed((x - 92, 214), (x - 60, 190), (x - 34, 130), (x - 22, 92), (x - 10, 98), (x + 10, 98), (x + 22, 92),
                  (x + 34, 130), (x + 60, 190), (x + 92, 214))  # fmt: skip
    canvas.drawPath(cone, linear((0, 90), (0, 214), (tint("6e2c3e"), tint("43203a"))))
    lava = closed((x - 15, 95), (x - 8, 98), (x + 8, 98), (x + 15, 95), (x + 12, 120), (x + 22, 140), (x + 16, 168),
                  (x + 8, 150), (x + 4, 140), (x + 2, 128), (x - 6, 150), (x - 12, 130), (x - 15, 95))  # fmt: skip
    canvas.drawPath(lava, linear((0, 95), (0, 168), (tint("fff2a0"), tint("ff7a2a"))))
    paint_ground(canvas, 200, "5a2a40", "3a1b34", rng, 9)
    paint_ground(canvas, 214, "4a2338", "2a1329", rng, 4)
    for pool_x in sides(rng, 64):
        width, y = rng.uniform(20, 32), rng.uniform(226, 244)
        canvas.drawPath(ellipse(pool_x, y, width, 5.5), brush(tint("ff6a2a")))
        canvas.drawPath(ellipse(pool_x, y + 0.8, width * 0.74, 3.2), brush(tint("ffd45c")))
    for _ in range(18):
        ember = rng.choice(("ffd45c", "ff9a3d", "fff2a0"))
        canvas.drawCircle(
            rng.uniform(4, 252), rng.uniform(10, 205), rng.uniform(1.0, 2.8), brush(tint(ember).fade(0.9))
        )


def paint_cave(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint a rocky hollow with glowing crystals."""
    frame = skia.Rect.MakeWH(256, 256)
    canvas.drawRect(frame, radial((128, 122), 170, [tint(code) for code in ("c59f93", "8a6a74", "4a3a52", "2c2440")]))
    for index in range(9):
        x = index * 32 + rng.uniform(-10, 10)
        height, half = rng.uniform(22, 74) * (0.5 + abs(x - 128) / 128), rng.uniform(11, 18)
        rock = closed((x - half, -4), (x - half * 0.6, height * 0.4), (x - half * 0.2, height * 0.7), (x, height),
                      (x + half * 0.2, height * 0.7), (x + half * 0.6, height * 0.4), (x + half, -4))  # fmt: skip
        canvas.drawPath(rock, linear((0, 0), (0, 80), (tint("33294a"), tint("5d4a60"))))
    paint_ground(canvas, 204, "6d5568", "43344f", rng, 9)
    for x in sides(rng, 40):
        colour = tint(rng.choice(("5fe0ff", "c48bff", "7dffb0", "ff8fd0")))
        paint_glow(canvas, (x, 200), 62, colour.fade(0.5))
        for turn, height in ((-30, 36), (26, 42), (-4, 62)):
            shape = placed(crystal_path(height, 17), turn=turn, move=(x + turn * 0.3, 222))
            canvas.drawPath(shape, linear((x - 14, 0), (x + 14, 0), (colour.mix(WHITE, 0.55), colour.turn(value=0.8))))
    paint_ground(canvas, 218, "5c4860", "33283f", rng, 4)


def paint_sunset(canvas: skia.Canvas, rng: random.Random) -> None:
    """Paint a low sun over the sea, seen from a beach."""
    paint_sky(canvas, "5a4bb0", "c563a8", "ff8f7a", "ffc46b")
    x = 128 + rng.uniform(-50, 50)
    paint_sun(canvas, (x, 150), 46, "fff0b5", "ffd08a")
    for _ in range(5):
        y, half = rng.uniform(26, 122), rng.uniform(26, 52)
        middle = rng.choice(sides(rng, 100))
        canvas.drawPath(ellipse(middle, y, half, rng.uniform(4, 7)), brush(tint("ffd9c4").fade(0.5)))
    for peak_x in sides(rng, 40):
        paint_mountain(canvas, (peak_x, rng.uniform(128, 146)), rng.uniform(50, 76), 178, tint("a45595"), None)
    sea = skia.Rect.MakeLTRB(0, 176, 256, 256)
    canvas.drawRect(sea, linear((0, 176), (0, 230), (tint("f78f86"), tint("7a55b0"))))
    for index in range(9):
        y = 180 + index * 4
        half = rng.uniform(8, 34)
        canvas.drawPath(ellipse(x + rng.uniform(-16, 16), y, half, 1.2), brush(tint("fff0b5").fade(0.75)))
    paint_ground(canvas, 213, "f3c39b", "b97a8c", rng, 4)
