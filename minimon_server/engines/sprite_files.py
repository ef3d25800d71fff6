"""Pictures of a folder that show a creature alone, with alpha: which of them there are. Decodes none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from minimon_server.engines.files import Picture, kind_of_pixels, read_picture
from minimon_server.errors import StartupError

ENDING: Final = ".sprite.png"
# W3C PNG, table 11.1: grey with alpha, true colour with alpha; any other kind may bring a tRNS chunk.
WITH_ALPHA: Final = frozenset({4, 6})


def load_sprites(pictures: Sequence[Picture], paths: Sequence[Path]) -> Mapping[Picture, Picture]:
    """Return, by picture, its creature alone: the picture itself if it has alpha, or the file beside its own.

    `image_00.png` has `image_00.sprite.png` beside it; a picture with neither is left out. What a file says of its
    alpha is believed. Raise `StartupError` naming each such file that is damaged or has no alpha.
    """
    found, mistakes = dict[Picture, Picture](), list[str]()
    for picture, path in zip(pictures, paths, strict=True):
        if has_alpha(picture.png):
            found[picture] = picture
            continue
        beside = path.with_name(path.stem + ENDING)
        if not beside.exists():
            continue
        try:
            sprite = read_picture(beside)
        except OSError as error:
            mistakes.append(f"{beside}: {(error.strerror or str(error)).lower()}")
        except ValueError as error:
            mistakes.append(f"{beside}: {error}")
        else:
            found[picture] = sprite
            if not has_alpha(sprite.png):
                mistakes.append(f"{beside}: a PNG file without alpha; it is to show the creature alone")
    if mistakes:
        raise StartupError(mistakes)
    return found


def has_alpha(png: bytes) -> bool:
    """Return whether a whole PNG file says that its pixels have an alpha."""
    colour, chunks = kind_of_pixels(png)
    return colour in WITH_ALPHA or b"tRNS" in chunks
