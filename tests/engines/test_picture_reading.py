"""What a file says of itself, read without trust: damaged, cut, packed and lying files, and never a pixel decoded."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minimon_server.engines import exif, png
from minimon_server.engines.messages import DrawnPicture, DrawRequest
from minimon_server.engines.picture_files import encode, pack
from minimon_server.engines.picture_formats import FORMATS
from minimon_server.engines.picture_metadata import describe
from minimon_server.engines.picture_reading import LARGEST_TOLD, NotReadable, told_in
from tests.support import png_chunk

TOLD = {"schema": 1, "prompt": "a", "versions": {"minimon": "1"}}
SIGNATURE = b"\x89PNG\r\n\x1a\n"
FLAT = np.zeros((8, 8, 3), np.uint8)


@cache
def ours(kind: str) -> bytes:
    request = DrawRequest("small", "a red cat", "", (7,), 8, 8, 3, 5.0, format=kind)
    made_by = {"scheduler_class": "x", "versions": {"minimon": "1"}}
    return pack(DrawnPicture(FLAT.tobytes(), 7, 8, 8, describe(request, 7, made_by)), kind)


def png_with(*chunks: tuple[bytes, bytes], size: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", b""), (b"IEND", b"")]
    return SIGNATURE + b"".join(png_chunk(kind, data) for kind, data in parts)


def saying(text: bytes) -> dict[str, bytes]:
    """Return files of all formats that say `text`."""
    block = exif.write(text.decode("ascii"), "")
    found = {kind: encode(FLAT, kind, 80, block) for kind in FORMATS if kind != "png"}
    return {"png": png_with((b"tEXt", b"minimon\0" + text)), **found}


@given(kind=st.sampled_from(sorted(FORMATS)), data=st.data())
def test_a_damaged_file_is_refused_or_says_something(kind: str, data: st.DataObject) -> None:
    file = bytearray(ours(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(file) - 1))
        file[at] = data.draw(st.integers(0, 255))
    cut = bytes(file[: data.draw(st.integers(0, len(file)))])
    for one in (bytes(file), cut):
        try:
            told = told_in(one)
        except NotReadable:
            continue
        assert isinstance(told, dict)


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_lengths_that_lie_are_refused(kind: str) -> None:
    file = ours(kind)
    for at in range(len(file)):
        for lie in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"):
            try:
                told_in(file[:at] + lie + file[at + 4 :])
            except NotReadable:
                pass


def test_no_pixel_is_decoded() -> None:
    bomb = png_with((b"tEXt", b"minimon\0" + json.dumps(TOLD).encode()), size=2**31 - 1)
    assert told_in(bomb) == TOLD


@pytest.mark.parametrize("kind", ["zTXt", "iTXt"])
def test_a_packed_text_is_read_as_far_as_its_bound(kind: str) -> None:
    def packed(text: bytes) -> bytes:
        before = b"minimon\0" + (b"\0" if kind == "zTXt" else b"\1\0\0\0")
        return png_with((kind.encode(), before + zlib.compress(text, 9)))

    assert told_in(packed(json.dumps(TOLD).encode())) == TOLD
    bomb = packed(b" " * (256 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(NotReadable, match="larger than 1048576 bytes"):
            told_in(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[" * 100_000, "does not say"),
        (b'{"versions":' * 5000, "does not say"),
        (b"[]", "does not say"),
        (b"NaN", "does not say"),
        (b"", "does not say"),
        (b'{"prompt": "a"}', "does not say"),
        (b'{"versions": 3}', "does not say"),
        (b'{"versions": {"minimon": "9"}, "schema": 2}', "later version"),
        (b'{"versions": {"minimon": "9"}, "schema": "1"}', "later version"),
        (b'"' + b"a" * LARGEST_TOLD + b'"', "larger than"),
    ],
    ids=range(10),
)
def test_json_that_is_not_ours_is_refused(text: bytes, why: str) -> None:
    for kind, file in saying(text.ljust(8)).items():
        with pytest.raises(NotReadable) as refused:
            told_in(file)
        assert why in str(refused.value), kind


def foreign() -> dict[str, bytes]:
    found: dict[str, bytes] = {"nothing": b"", "text": b"hello", "png": png.encode(FLAT, {"parameters": "a\nSteps: 3"})}
    for kind in ("jpeg", "webp", "avif", "gif"):
        written = io.BytesIO()
        Image.fromarray(FLAT).save(written, kind)
        found[f"{kind} of another"] = written.getvalue()
    return found


@pytest.mark.parametrize("name", list(foreign()))
def test_a_file_of_another_is_told_so(name: str) -> None:
    with pytest.raises(NotReadable, match="does not say what made it"):
        told_in(foreign()[name])


def test_a_text_that_was_changed_without_care_is_damaged() -> None:
    file = ours("png")
    with pytest.raises(NotReadable, match="damaged"):
        told_in(file.replace(b"a red cat", b"a red dog"))


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
def test_what_another_program_has_written_anew_is_still_read(kind: str) -> None:
    opened: Any = Image.open(io.BytesIO(ours(kind)))
    written = io.BytesIO()
    opened.save(written, kind, exif=opened.getexif())  # little-endian, in another order
    assert told_in(written.getvalue()) == told_in(ours(kind))


def test_places_that_cost_no_bytes_are_not_followed() -> None:
    # A table of items whose numbers have no bytes, each in as many pieces as can be said.
    table = struct.pack(">IHH", 0, 0, 60_000) + struct.pack(">HHH", 1, 0, 65_535) * 60_000
    kind = struct.pack(">IHH4s", 2 << 24, 9, 0, b"Exif")
    info = struct.pack(">IH", 0, 1) + struct.pack(">I4s", 8 + len(kind), b"infe") + kind
    boxes = [(b"iinf", info), (b"iloc", table)]
    inner = b"".join(struct.pack(">I4s", 8 + len(body), name) + body for name, body in boxes)
    file = struct.pack(">I8s4x", 16, b"ftypavif") + struct.pack(">I4sI", 12 + len(inner), b"meta", 0) + inner
    with pytest.raises(NotReadable, match="damaged"):
        told_in(file)


def test_a_search_ends() -> None:
    endless = SIGNATURE + png_chunk(b"tEXt", b"x\0y") * 200_000
    with pytest.raises(NotReadable):
        told_in(endless)
