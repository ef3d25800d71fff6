"""The drawn training pictures on disk: draws what is missing, hands out pixels. Knows nothing of captions or networks.

Pictures lie in files of `PER_FILE`, each written whole or not at all, so that drawing can stop at any time and go on.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.artist.picture import draw
from tools.artist.traits import Traits
from tools.tiny.creatures import training_traits
from tools.tiny.progress import Progress

Pixels = NDArray[np.uint8]

SIDE: Final = 256
PER_FILE: Final = 500


def draw_creature(traits: Traits, seed: int, side: int = SIDE) -> Pixels:
    """Draw one creature without alpha."""
    return draw(traits, seed, side)[..., :3]


class Pictures:
    """The training pictures of one folder, by index."""

    def __init__(self, folder: Path, side: int = SIDE, per_file: int = PER_FILE) -> None:
        self._folder = folder
        self._side = side
        self._per_file = per_file

    def count(self) -> int:
        """Return how many pictures there are from the first one without a gap."""
        number = 0
        while self._path(number).exists():
            number += 1
        return number * self._per_file

    def draw(self, count: int, workers: int) -> None:
        """Draw until there are at least `count`, with so many processes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        files = -(-count // self._per_file)
        missing = [number for number in range(files) if not self._path(number).exists()]
        progress = Progress("drawing", files * self._per_file, (files - len(missing)) * self._per_file)
        jobs = [(self._path(number), number * self._per_file, self._per_file, self._side) for number in missing]
        with multiprocessing.get_context("spawn").Pool(min(workers, max(len(jobs), 1))) as pool:
            for done, _ in enumerate(pool.imap_unordered(_draw_file, jobs), 1):
                progress.tell((files - len(missing) + done) * self._per_file)

    def take(self, indices: Sequence[int]) -> Pixels:
        """Return the pictures of these indices, in this order."""
        return np.stack([self._file(index // self._per_file)[index % self._per_file] for index in indices])

    def crops(self, indices: Sequence[int], corners: Sequence[tuple[int, int]], side: int) -> Pixels:
        """Return a square of each of these pictures, its upper left corner at (row, column)."""
        return np.stack(
            [
                self._file(index // self._per_file)[index % self._per_file][row : row + side, column : column + side]
                for index, (row, column) in zip(indices, corners, strict=True)
            ]
        )

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05}.npy"

    def _file(self, number: int) -> Pixels:
        return _opened(self._path(number))


@lru_cache(maxsize=512)
def _opened(path: Path) -> Pixels:
    pixels: Pixels = np.load(path, mmap_mode="r")
    return pixels


def _draw_file(job: tuple[Path, int, int, int]) -> None:
    path, first, count, side = job
    pixels = np.stack([draw_creature(training_traits(index), index, side) for index in range(first, first + count)])
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, pixels)
    partial.replace(path)
