"""From a drawn picture to the file that a client gets, with what made it inside. Draws and stores nothing.

PNG is our own encoder's. The others are Pillow's, on one thread: AVIF made by two differs from AVIF made by one, and
the same request shall give the same bytes.
"""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, features

from minimon_server.engines import exif, matte, png
from minimon_server.engines.messages import DrawnPicture
from minimon_server.engines.picture_formats import FORMATS
from minimon_server.engines.picture_metadata import infotext

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Above it, colours keep the resolution of brightness: 4:4:4. Below, half of it each way: 4:2:0. WebP has 4:2:0 only.
FULL_COLOUR: Final = 90
# Faster than Pillow's own settings, for files of about the same size; measured by `python -m bench --only pictures`.
WEBP_METHOD: Final = 2
AVIF_SPEED: Final = 8
# A segment of a JPEG file: 65,535 bytes with its length, of which the name of the block takes six.
_EXIF: Final = b"Exif\0\0"
_SEGMENT: Final = 65_535 - 2 - len(_EXIF)


def can_be_written(kind: str) -> bool:
    """Return whether this installation writes a format: distributions build Pillow without some of them."""
    return kind == "png" or (kind in FORMATS and bool(features.check({"jpeg": "jpg"}.get(kind, kind))))


def pack(picture: DrawnPicture, kind: str = "png", quality: int | None = None) -> bytes:
    """Return a file of the picture in the format `kind`, one of `FORMATS`: the same bytes for the same picture.

    `quality` is 1 to 100; None means the format's usual one. It is 4:4:4 from 90 on where the format has it.
    """
    pixels = np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)
    text, told = infotext(picture.metadata), json.dumps(dict(picture.metadata))
    if kind == "png":
        return png.encode(pixels, {"parameters": text, "minimon": told})
    return encode(pixels, kind, quality or FORMATS[kind].quality or 0, exif.write(told, text))


def pack_alone(picture: DrawnPicture) -> bytes:
    """Return a PNG file of the picture's creature with alpha and without its background; raise `NoCutout`.

    What the file tells says so too: the request alone would not make it again.
    """
    told = {**picture.metadata, "background": "transparent"}
    return png.encode(matte.cut_out(picture), {"parameters": infotext(told), "minimon": json.dumps(told)})


def encode(pixels: NDArray[np.uint8], kind: str, quality: int, block: bytes) -> bytes:
    """Return a WebP, JPEG or AVIF file of `pixels` (height x width x red, green, blue) with an EXIF block in it."""
    full = quality >= FULL_COLOUR
    options: dict[str, dict[str, Any]] = {
        "webp": {"method": WEBP_METHOD, "exif": block},
        "jpeg": {"subsampling": "4:4:4" if full else "4:2:0", "extra": _segments(block)},
        "avif": {
            "subsampling": "4:4:4" if full else "4:2:0",
            "exif": block,
            "codec": "aom",
            "speed": AVIF_SPEED,
            "max_threads": 1,
            "autotiling": False,
        },
    }
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind.upper(), quality=quality, **options[kind])
    return written.getvalue()


def _segments(block: bytes) -> bytes:
    """Return an EXIF block as segments of a JPEG file; what one cannot hold goes on in the next, as readers expect."""
    parts = [block[at : at + _SEGMENT] for at in range(0, len(block), _SEGMENT)]
    return b"".join(struct.pack(">HH", 0xFFE1, 2 + len(_EXIF) + len(part)) + _EXIF + part for part in parts)
