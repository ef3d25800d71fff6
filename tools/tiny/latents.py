"""The latents of the training pictures on disk: encodes what is missing, hands them out. Trains nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from tools.tiny.autoencoder import halved
from tools.tiny.autoencoder_net import to_signal
from tools.tiny.pictures import Pictures
from tools.tiny.progress import Progress

FOLDER: Final = "latents"
AT_ONCE: Final = 25


class Latents:
    """The latents of one folder, by index, in files that match those of the pictures; made by one autoencoder."""

    def __init__(self, folder: Path, pictures: Pictures, per_file: int) -> None:
        self._folder, self._pictures, self._per_file = folder, pictures, per_file
        self._all: torch.Tensor | None = None

    def count(self) -> int:
        """Return how many latents there are from the first one without a gap."""
        number = 0
        while self._path(number).exists():
            number += 1
        return number * self._per_file

    def encode(self, net: Any, device: torch.device, at_most: int) -> None:
        """Encode the pictures that are not yet encoded."""
        self._folder.mkdir(parents=True, exist_ok=True)
        files = min(self._pictures.count(), at_most) // self._per_file
        progress = Progress("encoding", files * self._per_file)
        for number in range(files):
            if not self._path(number).exists():
                self._encode_file(net, device, number)
            progress.tell((number + 1) * self._per_file)

    def all(self) -> torch.Tensor:
        """Return all latents as halves, read once."""
        if self._all is None:
            files = self.count() // self._per_file
            self._all = torch.from_numpy(np.concatenate([np.load(self._path(number)) for number in range(files)]))
        return self._all

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05}.npy"

    def _encode_file(self, net: Any, device: torch.device, number: int) -> None:
        found = []
        for start in range(0, self._per_file, AT_ONCE):
            first = number * self._per_file + start
            indices = range(first, min(first + AT_ONCE, (number + 1) * self._per_file))
            signal = halved(to_signal(torch.from_numpy(self._pictures.take(indices)).to(device)))
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                found.append(net.encode(signal).latent_dist.mean.half().cpu().numpy())
        partial = self._path(number).with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, np.concatenate(found))
        partial.replace(self._path(number))
