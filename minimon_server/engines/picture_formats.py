"""The file formats that a picture may be asked for in, as plain data. Encodes and reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `quality`, 1 to 100, is what a request that names none gets; None: nothing is ever lost."""

    name: str
    ending: str
    media_type: str
    quality: int | None = None


FORMATS: Final[Mapping[str, Format]] = {
    one.name: one
    for one in (
        Format("png", "png", "image/png"),
        Format("webp", "webp", "image/webp", 90),
        Format("jpeg", "jpg", "image/jpeg", 90),
        Format("avif", "avif", "image/avif", 80),
    )
}
