"""The glow around a creature, following its silhouette; whether it has one is decided by its traits."""

from __future__ import annotations

import skia

from tools.artist.palette import AURAS, Tint
from tools.artist.sketch import Sketch, brush, radial
from tools.artist.traits import Aura

REACH: float = 27.0


def _blurred_silhouette(canvas: skia.Canvas, sketch: Sketch, tint: Tint, width: float, blur: float) -> None:
    """Paint the creature's shape grown by half the width, softened as one piece so that overlaps do not show."""
    layer = skia.Paint(Alphaf=tint.alpha)
    if blur:
        layer.setImageFilter(skia.ImageFilters.Blur(blur, blur))
    canvas.saveLayer(None, layer)
    solid = tint.fade(1.0)
    sketch.paint_silhouette(canvas, brush(solid))
    sketch.paint_silhouette(canvas, brush(solid, width))
    canvas.restore()


def paint_aura(canvas: skia.Canvas, aura: Aura, sketch: Sketch) -> None:
    """Paint the aura behind the creature in the creature's own space; its bands reach about 25 units outwards."""
    tints = AURAS[aura]
    if not tints:
        return
    if aura is Aura.RAINBOW:
        _paint_bands(canvas, sketch, tints, step=4.1)
        return
    outer, middle, inner = tints
    _blurred_silhouette(canvas, sketch, outer.fade(0.9), 2 * REACH * 0.86, 6.5)
    _blurred_silhouette(canvas, sketch, middle.fade(0.95), 2 * REACH * 0.56, 3.4)
    _blurred_silhouette(canvas, sketch, inner, 2 * REACH * 0.36, 1.8)


def _paint_bands(canvas: skia.Canvas, sketch: Sketch, tints: tuple[Tint, ...], step: float) -> None:
    """Paint one contour band per tint, the first one outermost."""
    _blurred_silhouette(canvas, sketch, Tint(1.0, 1.0, 1.0, 0.7), 2 * REACH * 1.16, 4.0)
    for index, tint in enumerate(tints):
        width = 2 * (5.6 + step * (len(tints) - index))
        sketch.paint_silhouette(canvas, brush(tint, width))
    sketch.paint_silhouette(canvas, brush(Tint(1.0, 1.0, 1.0), 2 * 6.6))


def paint_light(canvas: skia.Canvas, aura: Aura) -> None:
    """Paint the light an aura throws on the backdrop, in the 256x256 space of the picture."""
    tints = AURAS[aura]
    if tints:
        glow = tints[-1] if aura is not Aura.RAINBOW else Tint(1.0, 1.0, 1.0)
        canvas.drawPaint(
            radial((128.0, 132.0), 150.0, (glow.fade(0.75), glow.fade(0.25), glow.fade(0.0)), [0.0, 0.6, 1.0])
        )
