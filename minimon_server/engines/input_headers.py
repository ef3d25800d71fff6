"""What a picture file says of itself before anything in it is unpacked: its format and its size. Decodes nothing.

Headers are read here and not by the library, so that no allocation ever follows from what a stranger wrote into one.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal

from minimon_server.engines.files import PNG_SIGNATURE
from minimon_server.engines.messages import BadPicture
from minimon_server.errors import Text

Format = Literal["PNG", "JPEG", "WEBP"]

# A progressive JPEG is decoded over its whole area once a scan: usual files have ten of them.
MOST_SCANS: Final = 100
_JPEG: Final = b"\xff\xd8\xff"
# ITU-T T.81, table B.1: the frames that hold a size, and the markers that stand alone.
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN: Final = 0xDA
_END: Final = 0xD9
# In a scan, 0xFF is data when 0x00 follows, and a pause when a restart marker does (section B.1.1.5).
_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FILL: Final = re.compile(rb"\xff+")
# Usual files have tens of segments, and a chunk for every 8 KiB at the most; each one costs its reader a step.
MOST_PIECES: Final = 16_384

_KINDS: Final = Text("seulement du PNG, du JPEG ou du WebP", "PNG, JPEG or WebP only")
ANIMATED: Final = Text("une image animée ; une seule image par fichier", "an animation; one picture a file")
DAMAGED: Final = Text("un fichier coupé ou abîmé", "a file that is cut short or damaged")
_PIECES: Final = Text(f"un fichier de plus de {MOST_PIECES} morceaux", f"a file of more than {MOST_PIECES} pieces")
_SCANS: Final = Text(f"un JPEG de plus de {MOST_SCANS} passes", f"a JPEG of more than {MOST_SCANS} scans")


@dataclass(frozen=True, slots=True)
class Header:
    """The format of a file, and its size in pixels as it is stored: before any rotation."""

    format: Format
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Return what a file says of itself; raise `BadPicture` for one of another format, an animation, or a cut one."""
    try:
        if data.startswith(PNG_SIGNATURE):
            return _png(data)
        if data.startswith(_JPEG):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise BadPicture(DAMAGED) from error
    raise BadPicture(_KINDS)


def _png(data: bytes) -> Header:
    """Walk through all chunks (W3C PNG, third edition, section 5) and check the sum of each."""
    at, first, size = len(PNG_SIGNATURE), True, (0, 0)
    view = memoryview(data)
    for _ in range(MOST_PIECES):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (wanted,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[at + 4 : end]) != wanted or first is not (kind == b"IHDR"):
            raise BadPicture(DAMAGED)
        if first:
            size = struct.unpack_from(">II", data, at + 8)
        if kind == b"acTL":
            raise BadPicture(ANIMATED)
        if kind == b"IEND":
            return Header("PNG", *size)
        at, first = end + 4, False
    raise BadPicture(_PIECES)


def _jpeg(data: bytes) -> Header:
    """Walk from marker to marker (ITU-T T.81, annex B) to the end of the picture."""
    at, scans, found = 2, 0, None
    for _ in range(MOST_PIECES):
        fill = _FILL.match(data, at)  # any number of these bytes may stand before a marker
        if fill is None:
            raise BadPicture(DAMAGED)
        marker, at = data[fill.end()], fill.end() + 1
        if marker == _END:
            if found is None or not scans:
                raise BadPicture(DAMAGED)
            return found
        if marker in _ALONE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
            found = Header("JPEG", width, height)
        at += length
        if marker == _SCAN:
            scans += 1
            if scans > MOST_SCANS:
                raise BadPicture(_SCANS)
            following = _AFTER_SCAN.search(data, at)
            if following is None:
                raise BadPicture(DAMAGED)
            at = following.start()
    raise BadPicture(_PIECES)


def _webp(data: bytes) -> Header:
    """Read the first chunk (RFC 9649, sections 2.5 to 2.7): a lossy, a lossless or an extended file."""
    length, kind = struct.unpack_from("<I", data, 4)[0], data[12:16]
    if len(data) < length + 8:
        raise BadPicture(DAMAGED)
    if kind == b"VP8X":
        if data[20] & 0x02:
            raise BadPicture(ANIMATED)
        sides = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Header("WEBP", *sides)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":  # RFC 6386, section 9.1
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    raise BadPicture(DAMAGED)
