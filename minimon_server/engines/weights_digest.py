"""What tells the files of one model from those of another: a digest over samples of them. Knows no models."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

SAMPLES: Final = 64  # of each file, the first at its beginning
SAMPLE_BYTES: Final = 16 * 1024


def digest_of(files: Mapping[str, Path]) -> str:
    """Return a SHA-256 over files, each by the name that it has here, its size, and samples spread evenly over it.

    Raise `OSError` when one cannot be read.
    """
    digest = sha256()
    for name, file in files.items():
        size = file.stat().st_size
        digest.update(f"{name} {size}\n".encode())
        with file.open("rb", buffering=0) as opened:
            for number in range(SAMPLES):
                opened.seek(size * number // SAMPLES)
                digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()
