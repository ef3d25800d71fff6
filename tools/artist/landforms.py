"""The pieces of scenery that several backdrops share: skies, hills, clouds, stars, trees; it composes no place."""

from __future__ import annotations

import random

import skia

from tools.artist.palette import WHITE, Tint, tint
from tools.artist.shapes import Point, blob, closed, ellipse, polygon, ribbon, sparkle
from tools.artist.sketch import brush, linear, radial

FRAME: float = 256.0


def paint_sky(canvas: skia.Canvas, *codes: str) -> None:
    """Fill the 256x256 frame from top to bottom with evenly spaced colours."""
    canvas.drawRect(skia.Rect.MakeWH(FRAME, FRAME), linear((0, 0), (0, FRAME), [tint(code) for code in codes]))


def paint_ground(
    canvas: skia.Canvas, level: float, upper: str, lower: str, rng: random.Random, swell: float = 8.0
) -> None:
    """Paint land with a rolling edge about that height, running into its lower colour at the frame's bottom."""
    points: list[Point] = [(-60, 320), (-60, level)]
    for x in (10, 90, 170, 250):
        points.append((x, level + rng.uniform(-swell, swell)))
    points += [(316, level), (316, 320)]
    canvas.drawPath(blob(points), linear((0, level - swell), (0, FRAME), (tint(upper), tint(lower))))


def paint_glow(canvas: skia.Canvas, centre: Point, radius: float, colour: Tint) -> None:
    """Paint a soft round glow that fades out at the radius."""
    canvas.drawCircle(*centre, radius, radial(centre, radius, (colour, colour.fade(0.0))))


def paint_sun(canvas: skia.Canvas, centre: Point, radius: float, core: str, halo: str) -> None:
    """Paint a sun or moon disc with a halo."""
    paint_glow(canvas, centre, radius * 3, tint(halo).fade(0.55))
    canvas.drawCircle(*centre, radius, brush(tint(core)))


def paint_cloud(canvas: skia.Canvas, centre: Point, size: float, colour: Tint) -> None:
    """Paint a puffy cloud with a flat foot, about three sizes wide."""
    x, y = centre
    path = closed(
        (x - size * 1.5, y),
        (x - size * 1.9, y - size * 0.6), (x - size * 1.2, y - size * 0.9), (x - size * 0.9, y - size * 0.6),
        (x - size * 0.7, y - size * 1.4), (x + size * 0.4, y - size * 1.4), (x + size * 0.5, y - size * 0.7),
        (x + size * 1.0, y - size * 1.1), (x + size * 1.9, y - size * 0.6), (x + size * 1.5, y),
        (x + size * 0.5, y), (x - size * 0.5, y), (x - size * 1.5, y),
    )  # fmt: skip
    canvas.drawPath(path, brush(colour))


def paint_stars(canvas: skia.Canvas, count: int, lowest: float, rng: random.Random, colour: Tint = WHITE) -> None:
    """Scatter small round stars and a few glints between the frame's top and the lowest height."""
    for _ in range(count):
        x, y = rng.uniform(4, 252), rng.uniform(4, lowest)
        canvas.drawCircle(x, y, rng.uniform(0.7, 1.7), brush(colour.fade(rng.uniform(0.5, 0.95))))
    for _ in range(4):
        place = rng.uniform(10, 246), rng.uniform(10, lowest)
        canvas.drawPath(sparkle(*place, rng.uniform(4, 7)), brush(colour.fade(0.9)))


def paint_fir(canvas: skia.Canvas, foot: Point, height: float, colour: Tint, snow: Tint | None = None) -> None:
    """Paint a fir with three tiers standing on its foot, snow on each tier if given."""
    x, y = foot
    canvas.drawRect(skia.Rect.MakeXYWH(x - height * 0.04, y - height * 0.2, height * 0.08, height * 0.2),
                    brush(colour.turn(value=0.6)))  # fmt: skip
    for tier in range(3):
        low = y - height * (0.14 + 0.25 * tier)
        half = height * (0.30 - 0.07 * tier)
        top = low - height * 0.38
        skirt = closed(
            (x, top),
            (x + half * 0.3, top + height * 0.2), (x + half * 0.6, low - height * 0.06), (x + half, low),
            (x + half * 0.4, low + height * 0.05), (x - half * 0.4, low + height * 0.05), (x - half, low),
            (x - half * 0.6, low - height * 0.06), (x - half * 0.3, top + height * 0.2), (x, top),
        )  # fmt: skip
        canvas.drawPath(skirt, brush(colour.turn(value=1 + 0.07 * tier)))
        if snow is not None:
            edge = ((0.0, 0.0), (0.52, 0.2), (0.2, 0.16), (0.0, 0.22), (-0.22, 0.16), (-0.52, 0.2))
            canvas.drawPath(polygon([(x + half * dx, top + height * dy) for dx, dy in edge]), brush(snow))


def paint_mountain(
    canvas: skia.Canvas, peak: Point, half_width: float, foot: float, colour: Tint, cap: Tint | None
) -> None:
    """Paint a peak with a shaded side and, if given, a cap of another colour."""
    x, y = peak
    canvas.drawPath(polygon([(x - half_width, foot), (x, y), (x + half_width, foot)]), brush(colour))
    canvas.drawPath(
        polygon([(x, y), (x + half_width, foot), (x + half_width * 0.1, foot)]), brush(colour.turn(value=0.88))
    )
    if cap is not None:
        drop = (foot - y) * 0.3
        spread = half_width * 0.3
        jag = [(x, y), (x + spread, y + drop), (x + spread * 0.45, y + drop * 0.8), (x + spread * 0.1, y + drop * 1.25),
               (x - spread * 0.4, y + drop * 0.75), (x - spread, y + drop)]  # fmt: skip
        canvas.drawPath(polygon(jag), brush(cap))


def paint_tuft(canvas: skia.Canvas, foot: Point, size: float, colour: Tint) -> None:
    """Paint three blades of grass."""
    x, y = foot
    for lean in (-0.7, 0.0, 0.7):
        spine = ((x + lean * size * 0.3, y), (x + lean * size * 0.5, y - size * 0.6), (x + lean * size, y - size))
        canvas.drawPath(ribbon(spine, (size * 0.26, size * 0.2, 1.1), steps=3), brush(colour))


def paint_flower(canvas: skia.Canvas, centre: Point, size: float, petals: Tint) -> None:
    """Paint a five-petalled flower seen from above."""
    x, y = centre
    for dx, dy in ((0, -1), (0.95, -0.3), (0.6, 0.8), (-0.6, 0.8), (-0.95, -0.3)):
        canvas.drawPath(ellipse(x + dx * size * 0.62, y + dy * size * 0.55, size * 0.52, size * 0.48), brush(petals))
    canvas.drawPath(ellipse(x, y, size * 0.4, size * 0.38), brush(tint("ffd84a")))


def sides(rng: random.Random, inner: float = 62.0) -> tuple[float, float]:
    """Choose an x near the left and one near the right edge, so that scenery leaves the middle free."""
    return rng.uniform(6, inner), rng.uniform(FRAME - inner, FRAME - 6)
