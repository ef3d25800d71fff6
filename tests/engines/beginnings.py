"""Pictures and masks that the tests of the engine begin with, as they reach it, and who draws from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from minimon_server.engines.input_pictures import normalised
from minimon_server.engines.messages import DrawRequest, Hires, NormalPicture, Progress
from minimon_server.engines.sdxl import SdxlEngine
from tests.hostile_pictures import plain, saved


def sent(image: Image.Image) -> NormalPicture:
    """Return a picture as it reaches the engine after somebody has sent it."""
    return normalised(saved(image, "PNG"), "white")


def masked(box: tuple[int, int, int, int], size: tuple[int, int] = (64, 64), white: int = 255) -> Image.Image:
    """Return a mask that is white in a box, and black around it."""
    mask = Image.new("L", size, 0)
    mask.paste(white, box)
    return mask


CAT_IMAGE, MASK_IMAGE = plain(64, 64), masked((16, 8, 48, 40))
CAT, MASK = sent(CAT_IMAGE), sent(MASK_IMAGE)
INPUTS = {CAT.picture.digest: CAT.png, MASK.picture.digest: MASK.png}
FROM_CAT: dict[str, Any] = {"init_image": CAT.picture, "strength": 0.75, "steps": 4}
REPAINT: dict[str, Any] = FROM_CAT | {"mask": MASK.picture}
KINDS: dict[str, dict[str, Any]] = {
    "from a picture": FROM_CAT,
    "repainted": REPAINT,
    "twice": {"hires": Hires(96, 96, 4, 0.5), "steps": 3},
}


def go_on(_: Progress) -> bool:
    """Go on, whatever is reported."""
    return True


def drawn(engine: SdxlEngine, request: DrawRequest, inputs: dict[str, bytes] = INPUTS) -> np.ndarray[Any, Any]:
    """Return the pixels of the one picture of a request."""
    (picture,) = engine.draw(request, go_on, inputs).pictures
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)


def noise() -> torch.Generator:
    """Return what decides the picture of seed 7."""
    return torch.Generator("cpu").manual_seed(7)
