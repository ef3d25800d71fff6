"""Strangers' pictures: the three formats in all their kinds become plain pixels, everything else a clear refusal."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from minimon_server.engines.input_pictures import normalised
from minimon_server.engines.messages import BadPicture
from tests import hostile_pictures as files
from tests.support import HOME

HOSTILE = files.hostile()
PLAIN = np.asarray(files.plain())


def pixels(data: bytes, transparent: str = "white") -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return what is kept of a file, after checking that it is what it says it is."""
    found = normalised(data, transparent)
    with Image.open(io.BytesIO(found.png)) as kept:
        assert (kept.format, kept.mode, kept.info) == ("PNG", "RGB", {})
        assert kept.size == (found.picture.width, found.picture.height)
        return np.array(kept)


@pytest.mark.parametrize(("data", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_single_small_picture_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadPicture) as caught:
        normalised(data, "white")
    assert reason in caught.value.text.en
    assert caught.value.text.fr != caught.value.text.en


def test_whatever_is_lost_of_a_file_it_is_refused_or_right() -> None:
    for kind in ("PNG", "WEBP"):
        data = files.saved(files.plain(), kind, **({"lossless": True} if kind == "WEBP" else {}))
        for end in range(len(data)):
            with pytest.raises(BadPicture):
                normalised(data[:end], "white")
    data = files.saved(files.plain(64, 64), "JPEG")
    for end in range(0, len(data), 7):
        with pytest.raises(BadPicture):
            normalised(data[:end], "white")


def test_a_picture_of_each_format_is_its_pixels() -> None:
    assert np.array_equal(pixels(files.saved(files.plain(), "PNG")), PLAIN)
    assert np.array_equal(pixels(files.saved(files.plain(), "WEBP", lossless=True)), PLAIN)
    for kind, options in (("JPEG", {"quality": 98, "subsampling": 0}), ("JPEG", {"progressive": True}), ("WEBP", {})):
        data = files.saved(files.plain(64, 64), kind, **options)
        with Image.open(io.BytesIO(data)) as opened:
            assert np.array_equal(pixels(data), np.asarray(opened.convert("RGB")))
    assert pixels(files.saved(files.plain(1, 1), "PNG")).shape == (1, 1, 3)


def test_the_same_pixels_are_the_same_file_and_nothing_else_is_kept() -> None:
    bare = normalised(files.saved(files.plain(), "PNG"), "white")
    told = files.saved(files.plain(), "PNG", compress_level=0, icc_profile=b"profile", dpi=(300, 300))
    assert normalised(told, "white") == bare
    assert normalised(files.saved(files.plain(), "WEBP", lossless=True), "white") == bare
    assert normalised(told + b"<script>alert(1)</script>PK\x03\x04", "black") == bare
    other = files.plain()
    other.putpixel((0, 0), (1, 2, 3))
    assert normalised(files.saved(other, "PNG"), "white").picture.digest != bare.picture.digest


@pytest.mark.parametrize("ground", ["white", "black"])
def test_what_is_transparent_lies_on_its_ground(ground: str) -> None:
    level = 255 if ground == "white" else 0
    veiled = files.plain().convert("RGBA")
    veiled.putpixel((0, 0), (10, 20, 30, 0))
    veiled.putpixel((1, 0), (100, 100, 100, 128))
    for kind in ("PNG", "WEBP"):
        found = pixels(
            files.saved(veiled, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})), ground
        )
        assert found[0, 0].tolist() == [level] * 3
        assert abs(int(found[0, 1, 0]) - round((100 * 128 + level * 127) / 255)) <= 1
        assert np.array_equal(found[1:], PLAIN[1:])
    palette = files.plain().quantize(8)
    marked = files.saved(palette, "PNG", transparency=palette.getpixel((3, 3)))
    assert pixels(marked, ground)[3, 3].tolist() == [level] * 3
    grey = Image.fromarray(np.full((2, 2), 60, np.uint8), "L")
    assert pixels(files.saved(grey, "PNG", transparency=60), ground).tolist() == [[[level] * 3] * 2] * 2


def test_sixteen_bits_keep_their_upper_half() -> None:
    deep = (np.arange(48, dtype=np.uint32) * 1365).astype(np.uint16).reshape(6, 8)
    found = pixels(files.saved(Image.fromarray(deep), "PNG"))
    assert np.array_equal(found[:, :, 0], deep >> 8)
    colours = np.stack([deep, deep[::-1], deep // 2], axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in colours)
    data = files.png(8, 6, [(b"IDAT", zlib.compress(rows))], depth=16)
    assert np.array_equal(pixels(data), (colours >> 8).astype(np.uint8))


def test_grey_palettes_bits_and_cmyk_become_red_green_blue() -> None:
    for image in (files.plain().convert("L"), files.plain().convert("1"), files.plain().quantize(16)):
        assert np.array_equal(pixels(files.saved(image, "PNG")), np.asarray(image.convert("RGB")))
    data = files.saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=100)
    red, green, blue = pixels(data)[8, 8]
    assert red < 5
    assert min(green, blue) > 250


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_stands_as_its_exif_says(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    stored = files.plain(16, 8)
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    found = pixels(files.saved(stored, kind, exif=exif, **options))
    assert found.shape == (16, 8, 3)
    if kind != "JPEG":
        assert np.array_equal(found, np.asarray(stored.transpose(Image.Transpose.ROTATE_270)))


def test_files_that_changed_on_their_way_are_pictures_or_refused_and_nothing_else() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: tuple[tuple[str, dict[str, object]], ...] = (
        ("PNG", {}),
        ("PNG", {"exif": exif}),
        ("JPEG", {"progressive": True, "exif": exif}),
        ("WEBP", {"exif": exif}),
        ("WEBP", {"lossless": True}),
    )
    whole = [files.saved(files.plain(24, 16), kind, **options) for kind, options in kinds]
    dice = random.Random(7)
    taken = 0
    for number in range(3000):
        data = bytearray(whole[number % len(whole)])
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            data[at : at + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 3))
        try:
            found = normalised(bytes(data), "white").picture
        except BadPicture:
            continue
        taken += 1
        assert found.width * found.height <= 4096 * 4096
    assert taken


def test_a_strangers_file_writes_nothing_into_the_log() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\x00\x06\0\0\0"
    data = files.saved(files.plain(), "JPEG", exif=exif)
    script = (
        "import sys; from minimon_server.engines.input_pictures import normalised;"
        "normalised(sys.stdin.buffer.read(), 'white')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=HOME, input=data, capture_output=True, check=True)
    assert done.stderr == b""
    with pytest.warns(UserWarning, match=r"EXIF|Tag data"), Image.open(io.BytesIO(data)) as opened:
        opened.getexif().get(0x0112)


SMALL_MEMORY = """
import resource, sys
from minimon_server.engines.input_pictures import normalised
from minimon_server.engines.messages import BadPicture
from tests import hostile_pictures as files
bombs = [files.black_and_white_bomb(), files.overlong_png(), files.text_bomb(), files.text_bomb(b"iCCP"),
         files.jpeg_of_size(65500, 65500), files.webp_of_size(16383, 16383)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bomb in bombs:
    try:
        print(normalised(bomb, "white").picture.width)
    except BadPicture as error:
        print("refused")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_no_bomb_takes_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL_MEMORY], cwd=HOME, capture_output=True, text=True, timeout=120, check=True
    )
    *said, mebibytes = done.stdout.split()
    assert said[0] == "refused"
    assert said[-2:] == ["refused", "refused"]
    assert int(mebibytes) < 64, done.stdout
