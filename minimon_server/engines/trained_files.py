"""The files of trained words by what they hold, told without torch. Reads no tensors: `textual_inversion` does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

LARGEST_FILE: Final = 16 * 1024 * 1024


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; `OSError` when it cannot be read."""
    with path.open("rb") as file:
        return sha256(file.read(LARGEST_FILE + 1)).hexdigest()


def digests_here(root: Path, texts: Sequence[str], names: Collection[str]) -> dict[str, str]:
    """Return the digest of each word's file in `root` that is one of `names`, or may stand in one of `texts`.

    Files that cannot be read, or are too large to be a word, are as if they were not there: so they are to a prompt.
    """
    said = "\n".join(texts).casefold()
    found: dict[str, str] = {}
    try:
        paths = sorted(root.iterdir())
    except OSError:
        return found  # no folder, no words
    for path in paths:
        if path.suffix.lower() != ".safetensors" or not (path.stem in names or path.stem.casefold() in said):
            continue
        try:
            if path.stat().st_size <= LARGEST_FILE:
                found[path.stem] = digest_of(path)
        except OSError:
            continue  # gone, or not to be read: no word
    return found
