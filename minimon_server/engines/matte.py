"""A creature cut out of a picture with an even background: its colours and its alpha, or why not. Draws no picture.

A picture C mixes a creature F and a background B: C = a F + (1 - a) B in each channel (T. Porter and T. Duff,
"Compositing digital images", 1984). B is fitted to what is joined to the picture's border; where the border shows that
B is not even, nothing is cut out. Outside a creature's outline, a is the larger of two: how far C lies on the way from
B to the strongest colour nearby, and the least a for which F is a colour at all (0 to 255). So a F + (1 - a) B is C
again, but for what is as faint as the background's noise: on its own background the picture looks as it did. What an
outline encloses is opaque, the background that shows between two horns, too. Nothing here knows what a creature is:
what stands out from the background stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from PIL import Image

from minimon_server.engines.messages import DrawnPicture, NoCutout
from minimon_server.errors import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Mask = NDArray[np.bool_]

Scalar = TypeVar("Scalar", bound=np.generic)

# Distances are those of two colours, 0 to 441.
SMALL: Final = 128  # pixels a side at which the background and the strongest colours are estimated
NEAR: Final = 12.0  # at the least, pixels as near to the fit as this are background when it is fitted
FADE: Final = (12.0, 32.0)  # the noise of a background: nothing below the first, all of it above the second
EVEN: Final = 28.0  # what a pixel of the border may be away from the fit
SHARE: Final = 0.8  # of the border that must be as near as that
RIM: Final = 5  # how wide the border is, at the small size
STRONG, STRONGEST = 60.0, 320.0  # bounds of the distance that a strongest colour counts with
HALF: Final = 0.5  # the background ends where a colour is half as far from it as the strongest nearby
REACH: Final = SMALL // 8  # how far nearby is, at the small size
LEAST, MOST = 0.03, 0.85  # how much of a picture a creature is
FAINT: Final = 0.035  # an alpha below is none
ROOM: Final = 96.0  # of a channel at the least, or noise on white would be an opaque white
FIRM: Final = 0.6  # what is softer than this everywhere is a smudge of the background


def cut_out(picture: DrawnPicture) -> NDArray[np.uint8]:
    """Return a picture's creature, height x width x red, green, blue and alpha, 0 to 255, not multiplied by alpha.

    Raise `NoCutout` where the background is not even, or what stands out from it is no creature by its size.
    """
    whole = np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3).astype(np.float32)
    background, strongest = _estimated(whole)
    difference = whole - background
    distance, towards = _length(difference), strongest - background
    reach = np.clip(_length(towards), STRONG, STRONGEST)
    along = np.clip((difference * towards).sum(axis=2) / np.maximum(_length(towards), STRONG) ** 2, 0.0, 1.0)
    fine = max(1, min(whole.shape[:2]) // 64)
    outside = _risen(_outside(distance < HALF * reach, fine), along, fine)
    room = np.maximum(np.where(difference > 0, 255.0 - background, background), ROOM)
    mixed = np.where(outside, np.clip(np.maximum(along, (np.abs(difference) / room).max(axis=2)), FAINT, 1.0), 1.0)
    alpha = mixed * np.where(outside, np.clip((distance - FADE[0]) / (FADE[1] - FADE[0]), 0.0, 1.0), 1.0)
    alpha[alpha < FAINT] = 0.0
    alpha[~spread(alpha > 0.0, alpha > FIRM)] = 0.0
    size = float((alpha > FIRM).mean())
    if not LEAST <= size <= MOST:
        raise NoCutout(
            Text(
                f"ce qui se détache du fond fait {size:.0%} de l'image ; il faut {LEAST:.0%} à {MOST:.0%}",
                f"what stands out from the background is {size:.0%} of the picture; {LEAST:.0%} to {MOST:.0%} may be",
            )
        )
    colours = background + difference / mixed[..., None]
    cut = np.concatenate([colours, 255.0 * alpha[..., None]], axis=2)
    pixels: NDArray[np.uint8] = np.clip(np.rint(cut), 0, 255).astype(np.uint8)
    return pixels


def spread(passable: Mask, seeds: Mask) -> Mask:
    """Return what of `passable` is joined to a seed, side by side; both height x width.

    A run of a row or a column with a seed in it is reached whole, so that few rounds are enough.
    """
    reached, before = seeds & passable, -1
    while (count := int(reached.sum())) != before:
        before = count
        for _ in range(2):  # along the rows, then along the columns
            passable, reached = passable.T, reached.T
            first = passable.copy()
            first[:, 1:] &= ~passable[:, :-1]
            runs = np.cumsum(first.ravel()).reshape(passable.shape) * passable
            hit = np.zeros(int(runs.max()) + 1, np.bool_)
            hit[runs[reached]] = True
            hit[0] = False
            reached = hit[runs]
    return reached


def _estimated(whole: Floats) -> tuple[Floats, Floats]:
    """Return the background behind every pixel, and the colour nearby that is the farthest from it."""
    height, width, _ = whole.shape
    small = _resized(whole, SMALL, SMALL)
    background, distance = _fitted(small)
    strongest = small
    for _ in range(REACH):
        found = [(distance, strongest), *zip(_shifts(distance, -1.0), _shifts(strongest, 0.0), strict=True)]
        for other, colour in found:
            farther = other > distance
            distance, strongest = np.where(farther, other, distance), np.where(farther[..., None], colour, strongest)
    # Away from 0 and 255, so that either way from it there is room.
    return np.clip(_resized(background, width, height), 1.0, 254.0), _resized(strongest, width, height)


def _fitted(small: Floats) -> tuple[Floats, Floats]:
    """Return a background that bends like a polynomial of the third degree at the most, and each pixel's distance."""
    rim = np.ones(small.shape[:2], np.bool_)
    rim[RIM:-RIM, RIM:-RIM] = False
    axis = np.linspace(-1.0, 1.0, SMALL)
    known = rim
    for degree in (1, 1, 2, 2, 3, 3):
        powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
        terms = np.stack([np.outer(axis**i, axis**j) for i, j in powers], axis=2)
        factors = np.linalg.lstsq(terms[known], small[known].astype(np.float64), rcond=None)[0]
        background = (terms @ factors).astype(np.float32)
        distance = _length(small - background)
        known = spread(distance < max(NEAR, 2.0 * float(np.median(distance[rim]))), rim)
    even = float((distance[rim] < EVEN).mean())
    if even < SHARE:
        raise NoCutout(
            Text(
                f"le fond n'est uni que sur {even:.1%} du bord de l'image ; il en faut {SHARE:.0%}",
                f"only {even:.1%} of the picture's border is an even background; {SHARE:.0%} must be",
            )
        )
    return background, distance


def _outside(passable: Mask, fine: int) -> Mask:
    """Return what is joined to the border through gaps wider than `fine` pixels to either side."""
    edge = np.zeros_like(passable)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    wide = ~_grown(~passable, fine) | (edge & passable)
    return _grown(spread(wide, edge), fine + 1) & passable


def _risen(outside: Mask, along: Floats, fine: int) -> Mask:
    """Return `outside` and the half of an outline that rises from it: its smooth edge, `fine` pixels at the most."""
    for _ in range(fine):
        low = np.where(outside, along, np.float32(2.0))
        lowest = np.minimum.reduce([low, *_shifts(low, 2.0)])
        outside = outside | ((lowest < 2.0) & (along > lowest) & (along < 1.0))
    return outside


def _grown(mask: Mask, times: int) -> Mask:
    for _ in range(times):
        mask = np.logical_or.reduce([mask, *_shifts(mask, False)])
    return mask


def _shifts(values: NDArray[Scalar], empty: float) -> Iterator[NDArray[Scalar]]:
    """Yield an array moved by one down, up, right and left, with `empty` where nothing comes from."""
    for axis in (0, 1):
        for step in (1, -1):
            moved = np.roll(values, step, axis)
            gap = 0 if step == 1 else -1
            moved[(gap, slice(None)) if axis == 0 else (slice(None), gap)] = empty
            yield moved


def _length(colours: Floats) -> Floats:
    length: Floats = np.sqrt((colours**2).sum(axis=2))
    return length


def _resized(colours: Floats, width: int, height: int) -> Floats:
    if colours.shape[:2] == (height, width):
        return colours
    bands = [Image.fromarray(np.ascontiguousarray(colours[..., band])) for band in range(3)]
    return np.stack([np.asarray(one.resize((width, height), Image.Resampling.BILINEAR)) for one in bands], axis=2)
