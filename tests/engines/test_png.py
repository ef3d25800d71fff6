"""The PNG writer: what goes in comes out of Pillow, pixels and texts, whatever they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minimon_server.engines import png
from minimon_server.engines.files import png_size


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (64, 48), (513, 257)])
def test_pixels_come_out_as_they_went_in(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    packed = png.encode(pixels)
    assert png_size(packed) == size
    opened = Image.open(io.BytesIO(packed))
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened), pixels)


def test_pixels_that_lie_apart_in_memory_are_taken_too() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 6), np.uint8).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png.encode(pixels)))), pixels)


@given(st.text(max_size=200))
def test_every_text_is_carried(text: str) -> None:
    packed = png.encode(np.zeros((2, 2, 3), np.uint8), {"parameters": text, "other": "plain"})
    opened = Image.open(io.BytesIO(packed))
    opened.load()
    assert opened.info["parameters"] == text.replace("\0", "\ufffd")
    assert opened.info["other"] == "plain"


def test_half_a_character_is_no_error() -> None:
    opened = Image.open(io.BytesIO(png.encode(np.zeros((2, 2, 3), np.uint8), {"parameters": "a\ud800b"})))
    assert opened.info["parameters"] == "a?b"
