"""What may be asked beyond text, and how large it is drawn: pictures, masks, strength, a second pass. Draws nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from minimon_server.engines.messages import Hires, InputPicture, drawn_steps
from minimon_server.errors import FieldMistake, Text

if TYPE_CHECKING:
    from minimon_server.jobs.drawing import Asked

# What one picture of 2048x1536 has; the largest square is 1768x1768.
MOST_PIXELS: Final = 2048 * 1536
SMALLEST_SIDE: Final = 64
LARGEST_SIDE: Final = 2048
# A1111's own, from a picture and for the second pass ("hires fix"): diffusers' 0.3 changes next to nothing.
USUAL_STRENGTH: Final = 0.75
USUAL_HIRES_STRENGTH: Final = 0.7

_NEEDS_IMAGE: Final = Text("demande init_image", "needs init_image")
_NOT_UNDER_A_MASK: Final = Text("ne va pas avec mask", "cannot be used with mask")
# A model of one size would draw the same again, and call it larger.
_ONE_SIZE: Final = Text(
    "pas avec ce modèle, qui dessine toujours en {0}x{0} ; demandez la taille par width et height",
    "not with this model, which always draws at {0}x{0}; ask for the size by width and height",
)
_HIRES_SIZE: Final = Text("soit scale, soit width et height", "either scale, or width and height")


@dataclass(frozen=True, slots=True)
class AskedHires:
    """The second pass that a client asks for: a factor, or a size in pixels; None is what it leaves open."""

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    strength: float = USUAL_HIRES_STRENGTH


def size_after(picture: InputPicture, width: int | None, height: int | None) -> tuple[int, int]:
    """Return the width and height at which a picture is drawn.

    What is asked for holds. One side alone: the other follows the proportions. Neither: the picture's own size, made
    smaller until it can be drawn. Sides are rounded down to multiples of 8, and lie between 64 and 2048.
    """
    if width and height:
        return width, height
    if width:
        return width, _side(width * picture.height / picture.width)
    if height:
        return _side(height * picture.width / picture.height), height
    longest = max(picture.width, picture.height)
    factor = min(1.0, LARGEST_SIDE / longest, math.sqrt(MOST_PIXELS / (picture.width * picture.height)))
    return _side(picture.width * factor), _side(picture.height * factor)


def hires_after(asked: AskedHires, width: int, height: int, steps: int) -> Hires:
    """Return the second pass over a picture of `width` x `height` that was drawn in `steps` steps."""
    if asked.scale is not None:
        width, height = int(width * asked.scale) // 8 * 8, int(height * asked.scale) // 8 * 8
    else:
        width, height = asked.width or 0, asked.height or 0
    return Hires(width, height, asked.steps or steps, asked.strength)


def input_mistakes(asked: Asked, steps: int, hires: Hires | None, native: int | None = None) -> Iterator[FieldMistake]:
    """Yield what is wrong with what is asked beyond text, `steps` and `hires` being what would be drawn.

    `native` is the side of all pictures of a model that draws at one size.
    """
    if asked.init_image is None:
        if asked.mask is not None:
            yield FieldMistake("mask", _NEEDS_IMAGE)
        if asked.strength is not None:
            yield FieldMistake("strength", _NEEDS_IMAGE)
    else:
        strength = USUAL_STRENGTH if asked.strength is None else asked.strength
        yield from _too_weak("strength", steps, strength)
        if asked.mask is not None and _size(asked.mask) != _size(asked.init_image):
            size, wanted = _size(asked.mask), _size(asked.init_image)
            told = Text(f"a {size} pixels ; init_image en a {wanted}", f"has {size} pixels; init_image has {wanted}")
            yield FieldMistake("mask", told)
    if hires is not None and native is not None:
        yield FieldMistake("hires", Text(_ONE_SIZE.fr.format(native), _ONE_SIZE.en.format(native)))
    elif hires is not None and asked.hires is not None:
        yield from _hires_mistakes(asked, asked.hires, hires)


def _hires_mistakes(asked: Asked, wish: AskedHires, hires: Hires) -> Iterator[FieldMistake]:
    if asked.mask is not None:
        yield FieldMistake("hires", _NOT_UNDER_A_MASK)
    by_size = [side for side in (wish.width, wish.height) if side is not None]
    if (wish.scale is None) is not (len(by_size) == 2) or len(by_size) == 1:
        yield FieldMistake("hires", _HIRES_SIZE)
    elif max(hires.width, hires.height) > LARGEST_SIDE or hires.width * hires.height > MOST_PIXELS:
        size = f"{hires.width}x{hires.height} pixels"
        most = f"{LARGEST_SIDE}", f"{MOST_PIXELS}"
        told = Text(
            f"{size} ; au plus {most[0]} par côté et {most[1]} en tout",
            f"{size}; at most {most[0]} a side and {most[1]} in all",
        )
        yield FieldMistake("hires", told)
    yield from _too_weak("hires.strength", hires.steps, hires.strength)


def _too_weak(field: str, steps: int, strength: float) -> Iterator[FieldMistake]:
    if drawn_steps(steps, strength) < 1:
        told = f"steps x strength = {steps} x {strength:g}"
        yield FieldMistake(field, Text(f"{told} : au moins 1 étape", f"{told}: at least 1 step"))


def _side(pixels: float) -> int:
    return min(max(int(pixels) // 8 * 8, SMALLEST_SIDE), LARGEST_SIDE)


def _size(picture: InputPicture) -> str:
    return f"{picture.width}x{picture.height}"
