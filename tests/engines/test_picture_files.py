"""The files that pictures are packed into: their pixels, what stands inside them, and the same bytes each time."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, JpegImagePlugin

from minimon_server.engines.messages import DrawnPicture, DrawRequest
from minimon_server.engines.picture_files import pack
from minimon_server.engines.picture_formats import FORMATS
from minimon_server.engines.picture_metadata import describe, infotext
from minimon_server.engines.picture_reading import kind_of, told_in

Asking = Callable[..., DrawRequest]
MADE_BY = {"scheduler_class": "EulerDiscreteScheduler", "versions": {"minimon": "1.2.3"}}
LOSSY = sorted(name for name, one in FORMATS.items() if one.quality is not None)
PROMPTS = {
    "plain": "a red cat",
    "any script": 'un chat très rouge ❤ 龍 "x", \\ \x7f\n(cat:1.2)',
    "long": "\U0001f409" * 32_768,
}


def scene(width: int = 96, height: int = 72) -> Any:
    """Return pixels that are neither flat nor noise."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    stripes = (np.indices((height, width)).sum(0) // 16 % 2) * 255
    return np.stack([across, down, stripes], -1).astype(np.uint8)


def picture(request: DrawRequest) -> DrawnPicture:
    pixels = scene()
    return DrawnPicture(pixels.tobytes(), 7, 96, 72, describe(request, 7, MADE_BY))


def comment_of(file: bytes) -> str:
    """Return `UserComment` as A1111 reads it, by way of Pillow."""
    said: bytes = Image.open(io.BytesIO(file)).getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert said[:8] == b"UNICODE\0"
    return said[8:].decode("utf-16-be")


@pytest.mark.parametrize("kind", sorted(FORMATS))
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_what_made_it_stands_whole_inside_in_both_forms(request_for: Asking, kind: str, prompt: str) -> None:
    drawn = picture(request_for(prompt=prompt, negative_prompt=prompt, format=kind))
    file = pack(drawn, kind)
    assert kind_of(file) == kind
    assert told_in(file) == drawn.metadata
    opened = Image.open(io.BytesIO(file))
    assert (opened.format, opened.size, opened.mode) == (kind.upper(), (96, 72), "RGB")
    assert Image.MIME[kind.upper()] == FORMATS[kind].media_type
    opened.load()
    if kind == "png":
        said, told = opened.info["parameters"], opened.info["minimon"]
    else:
        said, told = comment_of(file), opened.getexif()[ExifTags.Base.ImageDescription]
    assert said == infotext(drawn.metadata)
    assert json.loads(told) == drawn.metadata


@pytest.mark.parametrize("kind", LOSSY)
def test_a_better_quality_is_nearer_to_the_picture(request_for: Asking, kind: str) -> None:
    drawn = picture(request_for())
    wrong, sizes = [], []
    for quality in (10, 60, 100):
        file = pack(drawn, kind, quality)
        opened = np.asarray(Image.open(io.BytesIO(file)), np.int16)
        wrong.append(float(np.abs(opened - scene()).mean()))
        sizes.append(len(file))
    assert sizes == sorted(sizes)
    assert wrong[0] > wrong[-1]
    assert wrong[-1] < (8 if kind == "webp" else 2)  # whose colours are halved at any quality
    assert pack(drawn, kind) == pack(drawn, kind, FORMATS[kind].quality)


def test_png_loses_nothing(request_for: Asking) -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(pack(picture(request_for()))))), scene())


@pytest.mark.parametrize(("quality", "sampling"), [(89, 2), (90, 0)])
def test_from_ninety_on_colours_are_as_sharp_as_brightness(request_for: Asking, quality: int, sampling: int) -> None:
    opened = Image.open(io.BytesIO(pack(picture(request_for()), "jpeg", quality)))
    assert JpegImagePlugin.get_sampling(opened) == sampling


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_the_same_picture_is_the_same_file(request_for: Asking, kind: str) -> None:
    assert pack(picture(request_for()), kind) == pack(picture(request_for()), kind)
