"""The boxes of an AVIF file, as far as its EXIF item (ISO/IEC 14496-12, 8.11; 23008-12). Decodes no picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

MOST_BOXES: Final = 1000
MOST_EXTENTS: Final = 16  # of one item; numbers of no bytes cost nothing to write, and time to read


def exif_item(data: bytes) -> bytes | None:
    """Return the bytes of the first item of type `Exif`, or None; raise `ValueError` or `struct.error` when broken."""
    meta = dict(_boxes(data, 0, len(data))).get(b"meta")
    if meta is None:
        return None
    inner = dict(_boxes(data, meta[0] + 4, meta[1]))
    if b"iinf" not in inner or b"iloc" not in inner:
        return None
    number = _exif_number(data, *inner[b"iinf"])
    return None if number is None else _item(data, number, *inner[b"iloc"])


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the type of each box between two offsets, and where what it holds begins and ends."""
    for _ in range(MOST_BOXES):
        if at >= end:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        size = size or end - at  # 0: to the end
        if size < head or at + size > end:
            raise ValueError("a box that is not in the file")
        yield kind, (at + head, at + size)
        at += size


def _exif_number(data: bytes, at: int, end: int) -> int | None:
    start = at + (8 if data[at] else 6)  # version 0 counts its entries in 16 bits
    for kind, (inner, _) in _boxes(data, start, end):
        version = data[inner]
        if kind == b"infe" and version in (2, 3):
            number, _, named = struct.unpack_from(">HH4s" if version == 2 else ">IH4s", data, inner + 4)
            if named == b"Exif":
                return int(number)
    return None


class _Numbers:
    """Reads unsigned numbers of given sizes, one after the other."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data = data
        self._at = at
        self._end = end

    def next(self, size: int) -> int:
        if self._at + size > self._end:
            raise ValueError("a number that is not in its box")
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at])


def _item(data: bytes, wanted: int, at: int, end: int) -> bytes | None:
    """Return the bytes of one item, by the table of places."""
    numbers = _Numbers(data, at, end)
    version = numbers.next(1)
    numbers.next(3)
    sizes = numbers.next(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    for _ in range(min(numbers.next(wide), MOST_BOXES)):
        number = numbers.next(wide)
        method = numbers.next(2) & 15 if version else 0
        numbers.next(2)  # which file: this one
        base = numbers.next(base_size)
        parts: list[tuple[int, int]] = []
        if (count := numbers.next(2)) > MOST_EXTENTS:
            raise ValueError("an item in too many pieces")
        for _ in range(count):
            numbers.next(index_size)
            begin = base + numbers.next(offset_size)
            parts.append((begin, begin + numbers.next(length_size)))
        if number == wanted:
            if method or len(parts) != 1 or parts[0][1] > len(data):
                raise ValueError("an item that lies elsewhere")
            return data[slice(*parts[0])]
    return None
