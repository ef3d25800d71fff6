"""From a picture file to what made it, without decoding a pixel. Trusts no length that the file tells.

Reads what `picture_files` writes: the text `minimon` of a PNG file, and `ImageDescription` of the others.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from minimon_server.engines import avif_boxes, exif
from minimon_server.engines.files import PNG_SIGNATURE
from minimon_server.engines.messages import SCHEMA
from minimon_server.errors import Text

KEYWORD: Final = b"minimon"
# Two prompts of 32,768 characters, each written as two \uXXXX, and the rest.
LARGEST_TOLD: Final = 1024 * 1024
# Chunks or segments before the search ends; encoders split the pixels of the largest picture into some 2,000.
MOST_PARTS: Final = 10_000

_DAMAGED: Final = Text("Ce fichier est abîmé ou tronqué.", "This file is damaged or cut short.")
_NOT_OURS: Final = Text(
    "Ce fichier ne dit pas ce qui l'a fait : l'image n'est pas de ce serveur, ou un programme en a ôté les textes.",
    "This file does not say what made it: it is no picture of this server, or a program has taken its texts out.",
)
_TOO_LONG: Final = Text(
    f"Ce que le fichier dit de lui dépasse {LARGEST_TOLD} octets.",
    f"What the file says of itself is larger than {LARGEST_TOLD} bytes.",
)
_NEWER: Final = Text("Une version plus récente a fait ce fichier.", "A later version has made this file.")


class NotReadable(Exception):
    """A file that does not say what made it; the text is for the client."""

    def __init__(self, text: Text) -> None:
        self.text = text
        super().__init__(text.en)


def kind_of(data: bytes) -> str | None:
    """Return which of our formats a file begins like, or None."""
    if data.startswith(PNG_SIGNATURE):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "avif" if data[4:12] in (b"ftypavif", b"ftypavis") else None


def told_in(data: bytes) -> dict[str, Any]:
    """Return what `picture_metadata.describe` told of the picture; raise `NotReadable` when the file does not say.

    The values may be anything that JSON can hold: whoever made the file chose them.
    """
    readers: dict[str | None, Callable[[bytes], bytes | None]] = {
        "png": _of_png,
        "webp": _of_webp,
        "jpeg": _of_jpeg,
        "avif": _of_avif,
    }
    reader = readers.get(kind_of(data))
    if reader is None:
        raise NotReadable(_NOT_OURS)
    try:
        written = reader(data)
    except (ValueError, struct.error, zlib.error):
        raise NotReadable(_DAMAGED) from None
    if written is None:
        raise NotReadable(_NOT_OURS)
    if len(written) > LARGEST_TOLD:
        raise NotReadable(_TOO_LONG)
    try:
        told = orjson.loads(written)
    except orjson.JSONDecodeError:
        raise NotReadable(_NOT_OURS) from None
    if not isinstance(told, dict) or not isinstance(told.get("versions"), dict) or "minimon" not in told["versions"]:
        raise NotReadable(_NOT_OURS)
    if told.get("schema") != SCHEMA:
        raise NotReadable(_NEWER)
    return told


def _of_png(data: bytes) -> bytes | None:
    at = len(PNG_SIGNATURE)
    for _ in range(MOST_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            (check,) = struct.unpack_from(">I", data, end)
            body = data[at + 8 : end]
            keyword, _, rest = body.partition(b"\0")
            if keyword == KEYWORD:
                if zlib.crc32(body, zlib.crc32(kind)) != check:
                    raise ValueError("a chunk that is damaged")
                return _text(kind, rest)
        if kind == b"IEND":
            return None
        at = end + 4
    return None


def _text(kind: bytes, rest: bytes) -> bytes:
    """Return the text of a chunk, which programs that make files smaller may have packed."""
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _unpacked(rest[1:])
    packed = rest[:1] == b"\1"
    _, _, text = rest[2:].split(b"\0", 2)  # language, the keyword in it, the text
    return _unpacked(text) if packed else text


def _unpacked(packed: bytes) -> bytes:
    return zlib.decompressobj().decompress(packed, LARGEST_TOLD + 1)


def _of_webp(data: bytes) -> bytes | None:
    at = 12
    for _ in range(MOST_PARTS):
        if at >= len(data):
            return None
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return _described(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return None


def _of_jpeg(data: bytes) -> bytes | None:
    block = b"".join(_exif_segments(data))
    return _described(block) if block else None


def _exif_segments(data: bytes) -> Iterator[bytes]:
    at = 2
    for _ in range(MOST_PARTS):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == 0xFFDA:  # the pixels begin
            return
        if not 0xFF01 < marker < 0xFFFF or length < 2:
            raise ValueError("no segment")
        body = data[at + 4 : at + 2 + length]
        if marker == 0xFFE1 and body.startswith(b"Exif\0\0"):
            yield body[6:]
        at += 2 + length


def _of_avif(data: bytes) -> bytes | None:
    item = avif_boxes.exif_item(data)
    if item is None:
        return None
    # ISO/IEC 23008-12, annex A.2.1: how many bytes stand before the TIFF header.
    (skipped,) = struct.unpack_from(">I", item)
    return _described(item[4 + skipped :])


def _described(block: bytes) -> bytes | None:
    return exif.description(block.removeprefix(b"Exif\0\0"))
