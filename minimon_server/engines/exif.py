"""The EXIF block of a picture: two texts in, one out. Knows no file format around it, and nothing of what they say.

The block is that of TIFF 6.0 and Exif 3.0 (CIPA DC-008): ours is big-endian, with `ImageDescription` in its first
directory, and in its second `UserComment` in UTF-16, big-endian, as A1111 writes and reads it.
"""

from __future__ import annotations

import struct
from typing import Final

IMAGE_DESCRIPTION: Final = 0x010E
EXIF_DIRECTORY: Final = 0x8769
USER_COMMENT: Final = 0x9286
ASCII: Final = 2
LONG: Final = 4
UNDEFINED: Final = 7
_FIRST: Final = 8  # bytes before the first directory
_ONE: Final = 2 + 12 + 4  # a directory of one entry
_TWO: Final = _ONE + 12
_INLINE: Final = 4  # values of so many bytes stand in the entry itself; what we write is longer
MOST_ENTRIES: Final = 1000


def write(description: str, comment: str) -> bytes:
    """Return a block that holds `description`, in ASCII, and `comment`, which may hold any character.

    Raise `ValueError` for a description of less than four characters, which would have to stand elsewhere.
    """
    said = description.encode("ascii") + b"\0"
    if len(said) <= _INLINE:
        raise ValueError("a description so short has no place of its own")
    noted = b"UNICODE\0" + comment.encode("utf-16-be", "replace")
    second = _FIRST + _TWO
    at = second + _ONE
    after = at + len(said) + len(said) % 2  # values begin at even offsets
    parts = [
        struct.pack(">2sHI", b"MM", 42, _FIRST),
        struct.pack(">H", 2),
        struct.pack(">HHII", IMAGE_DESCRIPTION, ASCII, len(said), at),
        struct.pack(">HHIII", EXIF_DIRECTORY, LONG, 1, second, 0),
        struct.pack(">H", 1),
        struct.pack(">HHIII", USER_COMMENT, UNDEFINED, len(noted), after, 0),
        said.ljust(after - at, b"\0"),
        noted,
    ]
    return b"".join(parts)


def description(block: bytes) -> bytes | None:
    """Return `ImageDescription` of a block in either byte order, or None; raise `ValueError` when it is no EXIF."""
    order = {b"MM\0*": ">", b"II*\0": "<"}.get(block[:4])
    if order is None:
        raise ValueError("no TIFF header")
    try:
        (at,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, at)
        for number in range(min(count, MOST_ENTRIES)):
            tag, kind, length, value = struct.unpack_from(order + "HHII", block, at + 2 + 12 * number)
            if (tag, kind) == (IMAGE_DESCRIPTION, ASCII):
                if length <= _INLINE or value + length > len(block):
                    raise ValueError("a text that is not in the block")
                return block[value : value + length].rstrip(b"\0")
    except struct.error:
        raise ValueError("a directory that is not in the block") from None
    return None
