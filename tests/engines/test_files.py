"""The static engine: whole pictures are taken, and every bad file is named before anything starts."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from minimon_server.engines.files import load_pictures, png_size, read_picture
from minimon_server.errors import StartupError
from tests.support import png_chunk, small_png, write_pictures

PATTERN = "image_{:02d}.png"


def test_pictures_come_in_order(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3)
    pictures = load_pictures(tmp_path, PATTERN, 0, 2)
    assert [picture.png for picture in pictures] == [small_png(0), small_png(20), small_png(40)]
    assert (pictures[0].width, pictures[0].height) == (4, 4)


def test_every_bad_file_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, 6)
    (tmp_path / "image_01.png").unlink()
    (tmp_path / "image_02.png").write_bytes(b"GIF89a")
    (tmp_path / "image_03.png").unlink()
    (tmp_path / "image_03.png").mkdir()
    (tmp_path / "image_04.png").write_bytes(small_png(1)[:-6])
    with pytest.raises(StartupError) as caught:
        load_pictures(tmp_path, PATTERN, 0, 5)
    lines = caught.value.lines
    assert [Path(line.split(":")[0]).name for line in lines] == [f"image_0{index}.png" for index in (1, 2, 3, 4)]
    assert "no such file" in lines[0]
    assert "not a PNG" in lines[1]
    assert "directory" in lines[2]
    assert "cut short" in lines[3]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda png: b"", "not a PNG"),
        (lambda png: b"\xff\xd8\xff" + png, "not a PNG"),
        (lambda png: png[:8], "without picture data"),
        (lambda png: png[:40], "cut short"),
        (lambda png: png[:-12], "without an end|without picture data"),
        (lambda png: png[:50] + bytes([png[50] ^ 1]) + png[51:], "checksum"),
        (lambda png: png[:8] + png[33:], "header"),
        (lambda png: small_png(0, 20000)[:33] + png[33:], "each side"),
    ],
)
def test_a_file_that_is_not_a_whole_png_says_why(damage, reason) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        png_size(damage(small_png(9)))


def test_every_flipped_bit_inside_the_chunks_is_noticed() -> None:
    png = small_png(200)
    for index in range(8, len(png)):
        with pytest.raises(ValueError, match=r"PNG|header"):
            png_size(png[:index] + bytes([png[index] ^ 0x10]) + png[index + 1 :])


def test_what_follows_the_end_of_a_png_is_kept_and_harmless(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(small_png(1) + b"trailing")
    assert read_picture(path).width == 4


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    with path.open("wb") as file:
        file.truncate(33 * 2**20)
    with pytest.raises(ValueError, match="32 MiB"):
        read_picture(path)


def test_a_picture_whose_pixels_are_not_there_is_refused() -> None:
    png = small_png(1)
    header, after = png[:33], png[33:]
    empty = header + png_chunk(b"IDAT", b"garbage") + png_chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        png_size(empty)
    short = header + png_chunk(b"IDAT", zlib.compress(b"\0" * 7)) + png_chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="not as long"):
        png_size(short)
    bomb = header + png_chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000)) + png_chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="not as long"):
        png_size(bomb)
    odd = png[:8] + png_chunk(b"IHDR", png[16:24] + bytes([99, 77, 0, 0, 0])) + after
    with pytest.raises(ValueError, match="unknown kind"):
        png_size(odd)


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "one.png")
    with pytest.raises(ValueError, match="not a file"):
        read_picture(tmp_path / "one.png")
