"""The ordered list of painted pieces that makes a creature, and how one piece is painted; it knows no anatomy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import skia

from tools.artist.palette import WHITE, Ramp, Tint
from tools.artist.shapes import Point, placed

LINE: Final = 3.4
SILHOUETTE: Final = 4.3


@dataclass(frozen=True)
class Mark:
    """Flat paint without an outline: a filled path, or a line when it has a stroke width.

    A second tint makes the fill run downwards from the first to the second.
    """

    path: skia.Path
    tint: Tint
    lower: Tint | None = None
    stroke: float | None = None
    blur: float = 0.0
    clip: skia.Path | None = None


@dataclass(frozen=True)
class Part:
    """A solid piece of the creature: shaded, outlined, with marks that stay inside its outline."""

    path: skia.Path
    ramp: Ramp
    marks: tuple[Mark, ...] = ()
    line: float = LINE
    gloss: float = 0.0
    depth: float = 1.0


Piece = Part | Mark


def settle(part: Part, move: Point, *, turn: float = 0.0, scale: float = 1.0, flip: bool = False) -> Part:
    """Copy a part that was made about the origin: mirrored, scaled, turned clockwise by degrees, then moved.

    Lines inside the part scale with it; its outline keeps its width.
    """

    def put(path: skia.Path) -> skia.Path:
        return placed(path, move=move, turn=turn, scale=scale, flip=flip)

    marks = tuple(
        replace(
            mark,
            path=put(mark.path),
            stroke=None if mark.stroke is None else mark.stroke * scale,
            clip=None if mark.clip is None else put(mark.clip),
        )
        for mark in part.marks
    )
    return replace(part, path=put(part.path), marks=marks)


def brush(tint: Tint, stroke: float | None = None, blur: float = 0.0) -> skia.Paint:
    """Make antialiased paint; stroke is a line width and blur a radius, both in drawing space units."""
    paint = skia.Paint(AntiAlias=True, Color4f=tint.colour4f())
    if stroke is not None:
        paint.setStyle(skia.Paint.kStroke_Style)
        paint.setStrokeWidth(stroke)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
        paint.setStrokeJoin(skia.Paint.kRound_Join)
    if blur:
        paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.BlurStyle.kNormal_BlurStyle, blur))
    return paint


def linear(start: Point, end: Point, tints: Iterable[Tint], stops: list[float] | None = None) -> skia.Paint:
    """Make paint that runs through the tints from one point to the other."""
    colours = [tint.colour4f().toColor() for tint in tints]
    shader = skia.GradientShader.MakeLinear([start, end], colours, stops or [])
    return skia.Paint(AntiAlias=True, Shader=shader)


def radial(centre: Point, radius: float, tints: Iterable[Tint], stops: list[float] | None = None) -> skia.Paint:
    """Make paint that runs through the tints from the centre outwards."""
    colours = [tint.colour4f().toColor() for tint in tints]
    shader = skia.GradientShader.MakeRadial(centre, radius, colours, stops or [])
    return skia.Paint(AntiAlias=True, Shader=shader)


def paint_mark(canvas: skia.Canvas, mark: Mark) -> None:
    """Paint one mark in the canvas's current space."""
    if mark.clip is not None:
        canvas.save()
        canvas.clipPath(mark.clip, skia.ClipOp.kIntersect, True)
    if mark.lower is None:
        canvas.drawPath(mark.path, brush(mark.tint, mark.stroke, mark.blur))
    else:
        box = mark.path.getBounds()
        canvas.drawPath(mark.path, linear((0.0, box.top()), (0.0, box.bottom()), (mark.tint, mark.lower)))
    if mark.clip is not None:
        canvas.restore()


def _paint_crescent(canvas: skia.Canvas, path: skia.Path, move: Point, tint: Tint) -> None:
    """Paint the part of the (already clipped) path that its moved copy leaves free."""
    canvas.save()
    canvas.clipPath(placed(path, move=move), skia.ClipOp.kDifference, True)
    canvas.drawPath(path, brush(tint))
    canvas.restore()


def _paint_gloss(canvas: skia.Canvas, box: skia.Rect, strength: float) -> None:
    """Paint the two glints of a polished surface near the upper left of the box."""
    width, height = box.width(), box.height()
    canvas.save()
    canvas.translate(box.left() + width * 0.23, box.top() + height * 0.17)
    canvas.rotate(-36)
    canvas.drawOval(skia.Rect.MakeXYWH(-width * 0.1, -height * 0.04, width * 0.2, height * 0.08), _glint(strength))
    canvas.drawOval(skia.Rect.MakeXYWH(-width * 0.16, -height * 0.01, width * 0.04, height * 0.05), _glint(strength))
    canvas.restore()


def _glint(strength: float) -> skia.Paint:
    return brush(WHITE.fade(strength))


def paint_part(canvas: skia.Canvas, part: Part) -> None:
    """Paint one part: rounded colour, its marks, a core shadow, a lit edge, gloss and the outline."""
    box = part.path.getBounds()
    width, height = box.width(), box.height()
    tones = part.ramp
    canvas.save()
    canvas.clipPath(part.path, skia.ClipOp.kIntersect, True)
    focus = (box.left() + width * 0.36, box.top() + height * 0.26)
    canvas.drawPath(
        part.path, radial(focus, max(width, height) * 0.82, (tones.light, tones.base, tones.shade), [0.0, 0.48, 1.0])
    )
    for mark in part.marks:
        paint_mark(canvas, mark)
    thickness = min(width, height)
    if part.depth:
        away = (-thickness * 0.05 * part.depth, -thickness * 0.11 * part.depth)
        _paint_crescent(canvas, part.path, away, tones.shade.fade(0.5))
        bounce = (-thickness * 0.018 - part.line * 0.5, -thickness * 0.022 - part.line * 0.5)
        _paint_crescent(canvas, part.path, bounce, tones.light.fade(0.42))
        lit = (thickness * 0.03 + part.line * 0.45, thickness * 0.045 + part.line * 0.45)
        _paint_crescent(canvas, part.path, lit, tones.light.mix(WHITE, 0.45).fade(0.62))
    if part.gloss:
        _paint_gloss(canvas, box, part.gloss)
    canvas.restore()
    canvas.drawPath(part.path, brush(tones.ink, part.line))


@dataclass
class Sketch:
    """The pieces of a creature in painting order, in its own 256x256 drawing space."""

    pieces: list[Piece] = field(default_factory=list)

    def add(self, *pieces: Piece) -> None:
        """Put pieces on top of those already there."""
        self.pieces.extend(pieces)

    def parts(self) -> list[Part]:
        """Return the solid parts, from the rearmost to the foremost."""
        return [piece for piece in self.pieces if isinstance(piece, Part)]

    def bounds(self) -> skia.Rect:
        """Return the box around every part with its whole outline."""
        box = skia.Rect.MakeEmpty()
        for part in self.parts():
            box.join(part.path.computeTightBounds().makeOutset(SILHOUETTE, SILHOUETTE))
        return box

    def covers(self, point: Point) -> bool:
        """Tell whether a solid part lies at the point."""
        return any(part.path.contains(*point) for part in self.parts())

    def paint_silhouette(self, canvas: skia.Canvas, paint: skia.Paint) -> None:
        """Draw every part's path with one paint, for outlines and glows that follow the creature's shape."""
        for part in self.parts():
            canvas.drawPath(part.path, paint)

    def paint(self, canvas: skia.Canvas) -> None:
        """Paint the heavy outer outline, then every piece in order."""
        for part in self.parts():
            canvas.drawPath(part.path, brush(part.ramp.ink, 2 * min(SILHOUETTE, part.line * 1.36)))
        for piece in self.pieces:
            if isinstance(piece, Part):
                paint_part(canvas, piece)
            else:
                paint_mark(canvas, piece)
