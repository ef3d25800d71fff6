"""The part about packing: every format beside its peers, of a picture that is one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bench.pictures import OURS, PNG, SAME, _encoders, _of_side, clouds
from bench.report import Figure
from minimon_server.engines.picture_formats import FORMATS


def test_the_picture_is_neither_flat_nor_noise_and_always_the_same() -> None:
    pixels = clouds(64)
    assert np.array_equal(pixels, clouds(64))
    steps = np.abs(np.diff(pixels.astype(np.int16), axis=0)).mean()
    assert 1 < steps < pixels.std() < 100


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_everybody_packs_the_same_picture(kind: str) -> None:
    pixels = clouds(64)
    encoders = _encoders(pixels, kind, FORMATS[kind].quality)
    assert {OURS, SAME, PNG} <= set(encoders)
    for name, encode in encoders.items():
        opened = Image.open(io.BytesIO(encode()))
        assert opened.format == ("PNG" if name == PNG else kind.upper())
        assert np.abs(np.asarray(opened, np.int16) - pixels).mean() < 6


def test_each_format_has_a_row_for_time_and_one_for_size() -> None:
    rows = _of_side(64, 2)
    assert [row.measured for row in rows[:2]] == ["png, 64x64, processor's ms", "png, 64x64, KiB"]
    assert len(rows) == 2 * len(FORMATS)
    for row in rows:
        cell = row.cells[OURS]
        assert isinstance(cell, Figure)
        assert row.compared
