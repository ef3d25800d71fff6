"""What tells one network of a model from all others: its files' content, its settings; and whether files have changed.

Compared by samples first, which are cheap, and by whole SHA-256 before two are taken for one. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from minimon_server.engines.checkpoint_files import Checkpoint, OnDisk
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.file_stamps import Stamp, stamp_or_missing
from minimon_server.engines.model_folders import BrokenModel, ModelFolder, read_json
from minimon_server.engines.weight_files import weight_files
from minimon_server.engines.weights_digest import digest_of

# What the libraries write into a configuration of where it came from: it builds nothing.
_ORIGINS: Final = ("_name_or_path", "_diffusers_version", "transformers_version")


@dataclass(frozen=True, slots=True)
class Content:
    """What a network is made of: `key` is the same for two of the same samples and settings; `files` hold the whole."""

    key: str
    files: tuple[Path, ...]

    def equals(self, other: Content, hashes: FileHashes) -> bool:
        """Return whether both hold the same to the last byte, by SHA-256; files that cannot be read are like none.

        This may block for as long as reading the files takes that nobody has hashed yet.
        """
        if self.key != other.key or len(self.files) != len(other.files):
            return False
        try:
            return all(
                hashes.of(one) == hashes.of(two) for one, two in zip(self.files, other.files, strict=True) if one != two
            )
        except OSError:
            return False  # whoever loads them says what is wrong


def contents_of(model: OnDisk, how: str) -> dict[str, Content]:
    """Return the content of each network of a model; `how` is what else decides how it is built, as its numbers.

    One whose files cannot be read has none: it is loaded by itself, or whoever loads it says what is wrong.
    """
    found: dict[str, Content] = {}
    digests: dict[tuple[Path, ...], str] = {}
    for part, paths in weight_files(model).items():
        files = tuple(paths)
        try:
            if files and files not in digests:
                digests[files] = digest_of({str(number): file for number, file in enumerate(files)})
            settings = _settings(model, part, files)
        except (OSError, BrokenModel):
            continue
        if files:
            told = json.dumps([part, how, digests[files], settings], sort_keys=True)
            found[part] = Content(f"{part} {sha256(told.encode()).hexdigest()}", files)
    return found


def stamps_of(files: Iterable[Path]) -> dict[Path, Stamp]:
    """Return the stamp of each file, `MISSING` of one that cannot be looked at."""
    return {file: stamp_or_missing(file) for file in files}


def _settings(model: OnDisk, part: str, files: tuple[Path, ...]) -> Any:
    """Return what the files do not say of a network: where it lies in them, and its configuration."""
    if isinstance(model, ModelFolder):
        return _plain(read_json(model.path, f"{part}/config.json"))
    if part == "vae" and model.vae is not None:
        return _plain(read_json(model.vae, "config.json"))
    assert isinstance(model, Checkpoint)
    return {"inside": files[0].suffix, "says": _plain(model.configs.get(part, {}))}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _ORIGINS}
