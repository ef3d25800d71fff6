"""The static engine: pictures read once from a folder and checked down to their pixels. Draws nothing itself."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minimon_server.errors import StartupError

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# W3C PNG, third edition, table 11.1: the bit depths and the channels of each colour type.
DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
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
    if not path.is_file() and path.exists() and not path.is_dir():
        raise ValueError("not a file, but a device or a pipe")
    with path.open("rb") as file:
        png = file.read(LARGEST_FILE + 1)
    if len(png) > LARGEST_FILE:
        raise ValueError(f"larger than {LARGEST_FILE // 2**20} MiB")
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
    size, header, packed = (0, 0), b"", list[bytes]()
    for kind, data in _chunks(png):
        if not kinds:
            if kind != b"IHDR" or len(data) != 13:
                raise ValueError("not a PNG file: it does not begin with a header")
            size = struct.unpack(">II", data[:8])
            header = data
        if kind == b"IDAT":
            packed.append(data)
        kinds.append(kind)
    if b"IDAT" not in kinds or kinds[-1] != b"IEND":
        raise ValueError("a PNG file without picture data or without an end")
    if not all(0 < side <= 16384 for side in size):
        raise ValueError(f"a PNG file of {size[0]}x{size[1]} pixels; each side may hold 1 to 16384")
    _check_pixels(size, header, b"".join(packed))
    return size


def kind_of_pixels(png: bytes) -> tuple[int, frozenset[bytes]]:
    """Return the colour type of a whole PNG, and the kinds of chunks it has (W3C PNG, table 11.1)."""
    chunks = dict(_chunks(png))
    return chunks[b"IHDR"][9], frozenset(chunks)


def _check_pixels(size: tuple[int, int], header: bytes, packed: bytes) -> None:
    """Unpack the picture data, which must be as long as the header says (an interlaced picture: not much longer)."""
    depth, colour, _, _, interlaced = header[8:13]
    if depth not in DEPTHS.get(colour, ()):
        raise ValueError(f"a PNG file of an unknown kind (depth {depth}, colour type {colour})")
    row = -(-size[0] * depth * CHANNELS[colour] // 8) + 1
    length = row * size[1]
    unpacker = zlib.decompressobj()
    try:
        unpacked = len(unpacker.decompress(packed, length * 2 + 4096))
    except zlib.error:
        raise ValueError("a damaged PNG file (its picture data cannot be unpacked)") from None
    if not unpacker.eof or (unpacked != length and not (interlaced and unpacked >= length)):
        raise ValueError("a damaged PNG file (its picture data is not as long as its header says)")


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
