"""The static engine: pictures read once from a folder and checked to the last byte. Draws nothing itself."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minimon_server.errors import StartupError

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
LARGEST_FILE: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One PNG file: its size in pixels and its bytes. Two are the same only if they are one object."""

    width: int
    height: int
    png: bytes


def load_pictures(folder: Path, pattern: str, first: int, last: int) -> tuple[Picture, ...]:
    """Read `pattern.format(i)` for i from `first` to `last`, both included, out of `folder`.

    Raise `StartupError` naming every file that is missing, unreadable or not a whole PNG.
    """
    pictures: list[Picture] = []
    mistakes: list[str] = []
    for index in range(first, last + 1):
        path = folder / pattern.format(index)
        try:
            pictures.append(read_picture(path))
        except OSError as error:
            mistakes.append(f"{path}: {(error.strerror or str(error)).lower()}")
        except ValueError as error:
            mistakes.append(f"{path}: {error}")
    if mistakes:
        raise StartupError(mistakes)
    return tuple(pictures)


def read_picture(path: Path) -> Picture:
    """Read one PNG file; raise `OSError` when it cannot be read, `ValueError` when it is not a whole PNG."""
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"larger than {LARGEST_FILE // 2**20} MiB")
    png = path.read_bytes()
    width, height = png_size(png)
    return Picture(width, height, png)


def png_size(png: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of a PNG after checking its structure and every checksum.

    W3C PNG, third edition, section 5: signature, then chunks of length, type, data and CRC-32, from IHDR to IEND.
    Raise `ValueError` that says what is wrong.
    """
    if not png.startswith(PNG_SIGNATURE):
        raise ValueError("not a PNG file")
    kinds: list[bytes] = []
    size = (0, 0)
    for kind, data in _chunks(png):
        if not kinds:
            if kind != b"IHDR" or len(data) != 13:
                raise ValueError("not a PNG file: it does not begin with a header")
            size = struct.unpack(">II", data[:8])
        kinds.append(kind)
    if b"IDAT" not in kinds or kinds[-1] != b"IEND":
        raise ValueError("a PNG file without picture data or without an end")
    if not all(0 < side <= 16384 for side in size):
        raise ValueError(f"a PNG file of {size[0]}x{size[1]} pixels; each side may hold 1 to 16384")
    return size


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG_SIGNATURE)
    while at < len(png):
        if at + 12 > len(png):
            raise ValueError("a PNG file that is cut short")
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        end = at + 8 + length
        if end + 4 > len(png):
            raise ValueError("a PNG file that is cut short")
        data = png[at + 8 : end]
        if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(png[end : end + 4], "big"):
            raise ValueError("a damaged PNG file (a checksum does not match)")
        yield kind, data
        at = end + 4
        if kind == b"IEND":
            return
