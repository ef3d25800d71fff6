"""Outlines as paths: ovals, blobs, ribbons, flames, leaves and stars; owns no colours and paints nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import skia

Point = tuple[float, float]

MIDDLE: Final = 128.0


class Oval(NamedTuple):
    """An upright ellipse in the 256x256 drawing space: its centre and its half axes."""

    x: float
    y: float
    half_width: float
    half_height: float

    def rim(self, degrees: float, inset: float = 0.0) -> Point:
        """Return the point of the rim that many degrees clockwise from the top, moved inwards by inset."""
        angle = math.radians(degrees)
        return (
            self.x + (self.half_width - inset) * math.sin(angle),
            self.y - (self.half_height - inset) * math.cos(angle),
        )

    @property
    def top(self) -> float:
        """The y coordinate of the highest point."""
        return self.y - self.half_height

    @property
    def bottom(self) -> float:
        """The y coordinate of the lowest point."""
        return self.y + self.half_height


def ellipse(x: float, y: float, half_width: float, half_height: float, tilt: float = 0.0) -> skia.Path:
    """Outline an ellipse, tilted clockwise by that many degrees."""
    path = skia.Path()
    path.addOval(skia.Rect.MakeLTRB(x - half_width, y - half_height, x + half_width, y + half_height))
    return placed(path, turn=tilt, pivot=(x, y)) if tilt else path


def polygon(points: Sequence[Point]) -> skia.Path:
    """Outline a polygon with sharp corners."""
    path = skia.Path()
    path.addPoly([skia.Point(*point) for point in points], True)
    return path


def blob(points: Sequence[Point], tension: float = 1.0) -> skia.Path:
    """Outline a closed smooth curve that passes through every point."""
    path = skia.Path()
    count = len(points)
    path.moveTo(*points[0])
    for index in range(count):
        before, start = points[index - 1], points[index]
        end, after = points[(index + 1) % count], points[(index + 2) % count]
        reach = tension / 6
        path.cubicTo(
            start[0] + (end[0] - before[0]) * reach,
            start[1] + (end[1] - before[1]) * reach,
            end[0] - (after[0] - start[0]) * reach,
            end[1] - (after[1] - start[1]) * reach,
            *end,
        )
    path.close()
    return path


def curve(start: Point, *controls: Point) -> skia.Path:
    """Draw an open line of cubic curves: each takes three of the control points."""
    path = skia.Path()
    path.moveTo(*start)
    for index in range(0, len(controls), 3):
        first, second, end = controls[index : index + 3]
        path.cubicTo(*first, *second, *end)
    return path


def closed(start: Point, *controls: Point) -> skia.Path:
    """Outline a shape of cubic curves: each takes three of the control points."""
    path = curve(start, *controls)
    path.close()
    return path


def placed(
    path: skia.Path,
    *,
    move: Point = (0.0, 0.0),
    scale: float = 1.0,
    turn: float = 0.0,
    pivot: Point = (0.0, 0.0),
    flip: bool = False,
) -> skia.Path:
    """Copy a path: mirrored left to right, then scaled, then turned clockwise about the pivot, then moved."""
    matrix = skia.Matrix()
    matrix.postTranslate(-pivot[0], -pivot[1])
    matrix.postScale(-scale if flip else scale, scale)
    matrix.postRotate(turn)
    matrix.postTranslate(pivot[0] + move[0], pivot[1] + move[1])
    copy = skia.Path()
    path.transform(matrix, copy)
    return copy


def mirrored(path: skia.Path, axis: float = MIDDLE) -> skia.Path:
    """Copy a path to the other side of a vertical axis."""
    return placed(path, flip=True, pivot=(axis, 0.0))


def union(first: skia.Path, second: skia.Path) -> skia.Path:
    """Merge two outlines into one."""
    return skia.Op(first, second, skia.PathOp.kUnion_PathOp)


def _spline(points: Sequence[Point], place: float) -> Point:
    """Return the point of a smooth open line, place running from 0 to the number of points less one."""
    index = min(int(place), len(points) - 2)
    share = place - index
    start, end = points[index], points[index + 1]
    before = points[index - 1] if index else start
    after = points[index + 2] if index + 2 < len(points) else end
    coordinates = []
    for axis in (0, 1):
        slope_in, slope_out = (end[axis] - before[axis]) / 2, (after[axis] - start[axis]) / 2
        square, cube = share * share, share * share * share
        coordinates.append(
            (2 * cube - 3 * square + 1) * start[axis]
            + (cube - 2 * square + share) * slope_in
            + (3 * square - 2 * cube) * end[axis]
            + (cube - square) * slope_out
        )
    return coordinates[0], coordinates[1]


def ribbon(spine: Sequence[Point], widths: Sequence[float], steps: int = 8) -> skia.Path:
    """Outline a tube with rounded ends along a smooth line; widths are full widths at the points of the spine."""
    left: list[Point] = []
    right: list[Point] = []
    last = len(spine) - 1
    total = last * steps
    half = heading = 0.0
    start_cap: list[Point] = []
    for step in range(total + 1):
        place = step / steps
        x, y = _spline(spine, place)
        ahead, behind = _spline(spine, min(place + 0.02, last)), _spline(spine, max(place - 0.02, 0.0))
        heading = math.atan2(ahead[1] - behind[1], ahead[0] - behind[0])
        index = min(int(place), last - 1)
        half = (widths[index] + (widths[index + 1] - widths[index]) * (place - index)) / 2
        left.append((x + half * math.sin(heading), y - half * math.cos(heading)))
        right.append((x - half * math.sin(heading), y + half * math.cos(heading)))
        if step == 0:
            start_cap = _cap(spine[0], half, heading + math.pi / 2)
    return blob(left + _cap(spine[-1], half, heading - math.pi / 2) + right[::-1] + start_cap)


def _cap(centre: Point, radius: float, start: float) -> list[Point]:
    """Return the inner points of a half circle that begins at that angle and turns clockwise."""
    angles = [start + math.pi * share for share in (0.25, 0.5, 0.75)]
    return [(centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)) for angle in angles]


def star(x: float, y: float, outer: float, inner: float, points: int, turn: float = 0.0) -> skia.Path:
    """Outline a star with sharp points, the first one upwards, turned clockwise by degrees."""
    corners = []
    for index in range(2 * points):
        radius = outer if index % 2 == 0 else inner
        angle = math.pi * index / points + math.radians(turn)
        corners.append((x + radius * math.sin(angle), y - radius * math.cos(angle)))
    return polygon(corners)


def sparkle(x: float, y: float, radius: float) -> skia.Path:
    """Outline a four-pointed glint with hollow sides."""
    path = skia.Path()
    path.moveTo(x, y - radius)
    pinch = radius * 0.12
    for side, height, tip in ((1, -1, (1, 0)), (1, 1, (0, 1)), (-1, 1, (-1, 0)), (-1, -1, (0, -1))):
        path.quadTo(x + pinch * side, y + pinch * height, x + radius * tip[0], y + radius * tip[1])
    path.close()
    return path


def drop(x: float, y: float, radius: float) -> skia.Path:
    """Outline a falling drop: a disc of that radius about (x, y) with a pointed top."""
    return closed(
        (x, y - radius * 1.9),
        (x + radius * 0.25, y - radius * 1.2), (x + radius, y - radius * 0.75), (x + radius, y),
        (x + radius, y + radius * 0.56), (x + radius * 0.56, y + radius), (x, y + radius),
        (x - radius * 0.56, y + radius), (x - radius, y + radius * 0.56), (x - radius, y),
        (x - radius, y - radius * 0.75), (x - radius * 0.25, y - radius * 1.2), (x, y - radius * 1.9),
    )  # fmt: skip


def leaf(root: Point, tip: Point, width: float) -> skia.Path:
    """Outline a pointed leaf from root to tip, width at its broadest."""
    dx, dy = tip[0] - root[0], tip[1] - root[1]
    length = math.hypot(dx, dy) or 1.0
    side_x, side_y = -dy / length * width * 0.66, dx / length * width * 0.66
    near = (root[0] + dx * 0.15, root[1] + dy * 0.15)
    far = (root[0] + dx * 0.7, root[1] + dy * 0.7)
    return closed(
        root,
        (near[0] + side_x, near[1] + side_y), (far[0] + side_x, far[1] + side_y), tip,
        (far[0] - side_x, far[1] - side_y), (near[0] - side_x, near[1] - side_y), root,
    )  # fmt: skip
