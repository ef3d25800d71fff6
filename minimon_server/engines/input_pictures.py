"""From a stranger's picture file to plain pixels, or a clear refusal. Reads PNG, JPEG and WebP; stores nothing.

The header is judged before anything is unpacked (`input_headers`), the library is held to the one format that the
header names, and what comes out is written anew: nothing of the file but its pixels goes on.
"""

from __future__ import annotations

import io
import warnings
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageOps

from minimon_server.engines import png
from minimon_server.engines.input_headers import ANIMATED, DAMAGED, read_header
from minimon_server.engines.messages import BadPicture, InputPicture, NormalPicture
from minimon_server.errors import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Five times the largest picture that can be drawn; one takes about a quarter of a gigabyte while it is read.
MOST_PIXELS: Final = 4096 * 4096
# Ten megapixels by one pixel is no picture, and no drawn side is longer than 2048.
LONGEST_SIDE: Final = 16_384
# What the library warns of a stranger's file goes to nobody's log: its words hold numbers that the stranger chose, and
# Python remembers every one of them. What is wrong is told to whoever sent it.
warnings.filterwarnings("ignore", module=r"PIL\.")

_DEEP: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})


def normalised(data: bytes, transparent: str) -> NormalPicture:
    """Return the pixels of a PNG, JPEG or WebP file as a PNG file of 8-bit red, green, blue.

    Upright as its EXIF says; transparent parts over the colour `transparent`; of 16 bits the upper 8; CMYK as the
    library converts it; an ICC profile is ignored: the numbers are taken for sRGB, as the models take them.
    The same pixels give the same file. Raises `BadPicture`.
    """
    header = read_header(data)
    _check_size(header.width, header.height)
    try:
        with Image.open(io.BytesIO(data), formats=[header.format]) as opened:
            if opened.size != (header.width, header.height):
                raise BadPicture(DAMAGED)
            # A JPEG may carry smaller ones of itself behind it, as telephones do: the first is the picture.
            if header.format != "JPEG" and getattr(opened, "is_animated", False):
                raise BadPicture(ANIMATED)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            pixels = _pixels(upright, transparent)
    except BadPicture:
        raise
    except Exception as error:
        # The library raises a dozen kinds of errors over what is wrong in a file.
        raise BadPicture(DAMAGED) from error
    file = png.encode(pixels)
    height, width, _ = pixels.shape
    return NormalPicture(InputPicture(sha256(file).hexdigest(), width, height), file)


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE and width * height <= MOST_PIXELS):
        raise BadPicture(
            Text(
                f"{width}x{height} pixels ; au plus {MOST_PIXELS} en tout et {LONGEST_SIDE} par côté, au moins 1",
                f"{width}x{height} pixels; at most {MOST_PIXELS} in all and {LONGEST_SIDE} a side, at least 1",
            )
        )


def _pixels(image: Image.Image, transparent: str) -> NDArray[np.uint8]:
    if image.mode in _DEEP:
        # The library would cut every value above 255 instead of keeping its upper half.
        shades = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(shades[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        ground = Image.new("RGBA", seen.size, transparent)
        ground.alpha_composite(seen)
        image = ground
    return np.asarray(image.convert("RGB"))
