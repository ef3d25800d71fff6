"""Picture files that no friendly client sends, and friendly ones of every kind, made byte by byte or by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from PIL import Image

from tests.support import png_chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def plain(width: int = 8, height: int = 6) -> Image.Image:
    """Return a picture in which every pixel has another colour."""
    rows = np.arange(width * height * 3, dtype=np.uint32).reshape(height, width, 3) * 5 % 251
    return Image.fromarray(rows.astype(np.uint8), "RGB")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image as a file of `kind`."""
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


def png(width: int, height: int, chunks: Iterable[tuple[bytes, bytes]], depth: int = 8, colour: int = 2) -> bytes:
    """Return a PNG of these chunks, whatever they hold."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return SIGNATURE + b"".join(png_chunk(kind, data) for kind, data in parts)


@lru_cache(maxsize=8)
def zeros(count: int) -> bytes:
    """Return `count` zero bytes as zlib packs them, without ever holding them."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    packed = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join([*packed, packer.compress(bytes(count & ((1 << 20) - 1))), packer.flush()])


def black_and_white_bomb(side: int = 50_000) -> bytes:
    """Return a whole PNG of 1 bit a pixel: some hundred kilobytes that are 7.5 GB as red, green, blue."""
    return png(side, side, [(b"IDAT", zeros(side * (side // 8 + 1)))], depth=1, colour=0)


def overlong_png(inflated: int = 1 << 30) -> bytes:
    """Return a PNG of 8x8 pixels whose picture data unpacks to a gigabyte."""
    return png(8, 8, [(b"IDAT", zeros(inflated))])


def text_bomb(kind: bytes = b"zTXt", inflated: int = 1 << 28) -> bytes:
    """Return a small PNG with a text, or a colour profile, that unpacks to a quarter of a gigabyte."""
    rows = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(8)))
    return png(8, 8, [(kind, b"Comment\0\0" + zeros(inflated)), (b"IDAT", rows)])


def jpeg_of_size(width: int, height: int) -> bytes:
    """Return a JPEG of 8x8 pixels that says it is larger."""
    data = saved(plain(8, 8), "JPEG")
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def jpeg_of_scans(scans: int) -> bytes:
    """Return a progressive JPEG whose last scan stands there many times: each is a walk over the whole picture."""
    data = saved(plain(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def webp_of_size(width: int, height: int) -> bytes:
    """Return an extended WebP that says it is larger."""
    exif = Image.Exif()
    exif[0x0112] = 1
    data = saved(plain(), "WEBP", lossless=True, exif=exif)
    assert data[12:16] == b"VP8X"
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return data[:24] + sides + data[30:]


def animated(kind: str) -> bytes:
    """Return an animation of two frames."""
    return saved(plain(), kind, save_all=True, append_images=[plain().rotate(180)], duration=100)


def other_formats() -> dict[str, bytes]:
    """Return whole pictures in formats that are not taken."""
    kinds = ("GIF", "BMP", "TIFF", "AVIF", "ICO", "PPM", "TGA", "JPEG2000")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    psd = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 6, 8, 8, 3) + bytes(64)
    return {kind: saved(plain(), kind) for kind in kinds} | {
        "SVG": svg,
        "PSD": psd,
        "PDF": b"%PDF-1.7\n",
        "EPS": b"%!PS",
    }


def hostile() -> dict[str, tuple[bytes, str]]:
    """Return files that must be refused, each with a part of the reason in English."""
    whole = {kind: saved(plain(64, 64), kind) for kind in ("PNG", "JPEG", "WEBP")}
    cut = {f"{kind} cut at {at}": data[:at] for kind, data in whole.items() for at in (3, 12, 20, 40, len(data) - 5)}
    spoilt = whole["PNG"][:60] + bytes([whole["PNG"][60] ^ 255]) + whole["PNG"][61:]
    too_large = {
        "a black and white bomb": black_and_white_bomb(),
        "a JPEG of 65500x65500": jpeg_of_size(65_500, 65_500),
        "a WebP of 16383x16383": webp_of_size(16_383, 16_383),
        "a WebP of 16777216x16777216": webp_of_size(1 << 24, 1 << 24),
        "a PNG of 4 billion a side": png(2**32 - 1, 2**32 - 1, [(b"IDAT", b"")]),
        "a PNG of no width": png(0, 8, [(b"IDAT", zeros(8))]),
        "a long line": png(20_000, 1, [(b"IDAT", zeros(60_001))]),
    }
    damaged = {
        **{name: data for name, data in cut.items() if len(data) > 12},
        "a PNG with a wrong sum": spoilt,
        "a PNG without picture data": png(8, 8, []),
        "a PNG with too little picture data": png(64, 64, [(b"IDAT", zeros(100))]),
        "a WebP that says it is larger": webp_of_size(2000, 1000),
        "a PNG of an unknown depth": png(8, 8, [(b"IDAT", zeros(200))], depth=5),
        "a JPEG of markers alone": b"\xff\xd8" + b"\xff" * 1000,
        "a JPEG without a scan": b"\xff\xd8\xff\xd9",
    }
    return {
        **{name: (data, "pixels; at most 16777216") for name, data in too_large.items()},
        **{name: (data, "cut short or damaged") for name, data in damaged.items()},
        **{name: (data, "PNG, JPEG or WebP only") for name, data in other_formats().items()},
        **{f"{kind} in motion": (animated(kind), "an animation") for kind in ("PNG", "WEBP")},
        "nothing": (b"", "PNG, JPEG or WebP only"),
        "zero bytes": (bytes(1000), "PNG, JPEG or WebP only"),
        "a signature": (SIGNATURE, "cut short or damaged"),
        "a JPEG of 200 scans": (jpeg_of_scans(200), "more than 100 scans"),
        "a JPEG of 20000 comments": (b"\xff\xd8" + b"\xff\xfe\0\2" * 20_000, "more than 16384 pieces"),
        "a PNG of 20000 chunks": (png(8, 8, [(b"tEXt", b"a\0b")] * 20_000), "more than 16384 pieces"),
    }
