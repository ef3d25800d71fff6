"""Models in one file under models/checkpoints/, beside those in folders: which there are, and what goes with each.

A folder models/checkpoints/<id>/ may hold what the file cannot say, in diffusers' layout: a scheduler, configurations,
tokenizers, minimon.json, or another VAE. Loads no weights: `checkpoint_loading` does.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minimon_server.engines.checkpoint_shapes import PLACES
from minimon_server.engines.file_stamps import stamp_or_missing
from minimon_server.engines.model_folders import (
    NETWORKS,
    TOKENIZERS,
    BrokenModel,
    ModelFolder,
    ModelFolders,
    fingerprint_of,
    notes_of,
    read_json,
)
from minimon_server.engines.model_notes import FILE, ModelNotes
from minimon_server.engines.weights_digest import digest_of
from minimon_server.logs import Logger

CHECKPOINTS: Final = "checkpoints"
VAES: Final = "vae"
VAE_WEIGHTS: Final = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
SCHEDULER: Final = "scheduler/scheduler_config.json"
# What a number takes, by the name that the format gives its type: those that weights come in.
FLOATS: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
LARGEST_HEAD: Final = 100_000_000  # bytes, as the format has it


@dataclass(frozen=True, slots=True)
class Catalogued:
    """What somebody wrote down of a model: its kind, and the id of the VAE that it is drawn with, or ""."""

    kind: str
    vae: str


Said = Callable[[str], Catalogued | None]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One file with a whole model. `vae` is the folder of the VAE that counts instead of its own; None: its own.

    `configs` are those that its folder says, by part, and `scheduler` the configuration; None: what the file tells.
    """

    name: str
    path: Path
    beside: Path
    vae: Path | None
    notes: ModelNotes
    configs: Mapping[str, Mapping[str, Any]]
    scheduler: Mapping[str, Any] | None

    @property
    def native_size(self) -> int | None:
        """The side in pixels at which it always draws; None: any."""
        return self.notes.native_size

    def tokenizer(self, part: str) -> Path | None:
        """Return the folder of a tokenizer of its own; None: it is SDXL's."""
        folder = self.beside / part
        return folder if os.path.lexists(folder) else None


OnDisk = ModelFolder | Checkpoint


def read_checkpoint(root: Path, path: Path, vae: str) -> Checkpoint:
    """Return what goes with the file at `path`; raise `BrokenModel` with what is wrong with it.

    `vae` is the id of a folder in models/vae/, "" where nobody named one.
    """
    beside = path.with_name(path.stem)
    chosen = root / VAES / vae if vae else beside / "vae"
    weights = _vae_weights(chosen)
    if vae and weights is None:
        raise BrokenModel(f"its VAE {vae} is not in models/{VAES}/{vae}/")
    if weights is not None and not (chosen / "config.json").is_file():
        raise BrokenModel("its VAE has no config.json")
    configs = {
        part: read_json(beside, f"{part}/config.json")
        for part in NETWORKS
        if os.path.lexists(beside / part / "config.json")
    }
    scheduler = read_json(beside, SCHEDULER) if os.path.lexists(beside / SCHEDULER) else None
    own = None if weights is None else chosen
    return Checkpoint(path.stem, path, beside, own, notes_of(beside), configs, scheduler)


def weights_of(model: Checkpoint) -> Iterator[tuple[str, int]]:
    """Yield the type and the count of the numbers of each weight that is loaded, by the heads of the files.

    A file that cannot be read yields nothing: whoever loads it will say what is wrong with it.
    """
    drawn = tuple(place for part, place in PLACES.items() if part != "vae" or model.vae is None)
    yield from _told(model.path, drawn)
    own = _vae_weights(model.vae) if model.vae else None
    if own is not None:
        yield from _told(own, ("",))


def fingerprint_of_model(model: OnDisk) -> str:
    """Return what tells a model's weights and settings from others; raise `BrokenModel` when they cannot be read."""
    if isinstance(model, ModelFolder):
        return fingerprint_of(model.path)
    files = {"model": model.path} | {name: file for name, file in _beside(model.beside).items() if file.is_file()}
    own = _vae_weights(model.vae) if model.vae else None
    if model.vae and own:
        files |= {"vae": own, "vae config": model.vae / "config.json"}
    try:
        return digest_of(files)
    except OSError as error:
        raise BrokenModel(f"its weights cannot be read ({(error.strerror or 'error').lower()})") from None


class Models:
    """All models of one folder that the engine loads: folders, and single files. For every thread."""

    def __init__(self, folders: ModelFolders, said: Said, log: Logger) -> None:
        """`said` is what the catalogue says of an id, None where it says nothing; it may wait for its disk."""
        self._folders = folders
        self._said = said
        self._log = log
        self._lock = threading.Lock()  # a file that has not changed is one object, whoever asks
        self._seen: dict[str, tuple[tuple[object, ...], Checkpoint]] = {}

    @property
    def root(self) -> Path:
        """The folder that they are in."""
        return self._folders.root

    def find(self, model: str) -> OnDisk:
        """Return the model with this id; raise `BrokenModel` with the reason when there is none that can be loaded."""
        said = self._said(model)
        is_file = said.kind == "checkpoint" if said else not self._folders.has(model)
        path = self._file(model) if is_file else None
        if path is None and said and is_file:
            raise BrokenModel(f"There is no model {model} here: models/{CHECKPOINTS}/{model}.safetensors is missing.")
        if path is None:
            return self._folders.find(model)
        try:
            return self._checkpoint(path, said.vae if said else "")
        except BrokenModel as error:
            raise BrokenModel(f"The model {model} cannot be loaded: {error}.") from None

    def fingerprint(self, model: str) -> str | None:
        """Return what tells the weights of `model` from others; None when there is none that can be read."""
        try:
            return fingerprint_of_model(self.find(model))
        except BrokenModel as error:
            self._log.warning("model has no fingerprint", model=model, reason=str(error))
            return None

    def _file(self, model: str) -> Path | None:
        try:
            found = sorted((self.root / CHECKPOINTS).iterdir())
        except OSError:
            return None  # no folder, no files; one that cannot be listed is told by whoever lists models
        return next((path for path in found if path.stem == model and path.suffix.lower() == ".safetensors"), None)

    def _checkpoint(self, path: Path, vae: str) -> Checkpoint:
        with self._lock:
            known = self._seen.get(path.stem)
            watched = [path, *_beside(path.with_name(path.stem)).values()]
            watched += [self.root / VAES / vae / name for name in ("config.json", *VAE_WEIGHTS)] if vae else []
            signature = (vae, path, *map(stamp_or_missing, watched))
            if known is None or known[0] != signature:
                known = self._seen[path.stem] = (signature, read_checkpoint(self.root, path, vae))
            return known[1]


def _vae_weights(folder: Path) -> Path | None:
    return next((file for name in VAE_WEIGHTS if (file := folder / name).is_file()), None)


def _beside(folder: Path) -> dict[str, Path]:
    """Return what a model's own folder may hold that decides what is drawn, by names for a fingerprint."""
    names = [FILE, SCHEDULER, *(f"{part}/config.json" for part in NETWORKS), *(f"vae/{name}" for name in VAE_WEIGHTS)]
    for part in TOKENIZERS:
        names += [f"{part}/{name}" for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")]
    return {name: folder / name for name in names}


def _told(file: Path, places: tuple[str, ...]) -> list[tuple[str, int]]:
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            head = json.loads(opened.read(min(size, LARGEST_HEAD)))
        found = [one for name, one in head.items() if name != "__metadata__" and name.startswith(places)]
        return [(one["dtype"], math.prod(one["shape"])) for one in found if one["dtype"] in FLOATS]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
