"""From a drawn picture to the file that a client gets, with what made it inside. Draws and stores nothing."""

from __future__ import annotations

import json

import numpy as np

from minimon_server.engines import png
from minimon_server.engines.messages import DrawnPicture
from minimon_server.engines.picture_metadata import infotext


def pack(picture: DrawnPicture) -> bytes:
    """Return a PNG file of the picture: the same bytes for the same picture."""
    pixels = np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)
    told = picture.metadata
    return png.encode(pixels, {"parameters": infotext(told), "minimon": json.dumps(dict(told))})
