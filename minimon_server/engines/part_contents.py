"""What tells one network of a model from all others: its tensors, its settings; and whether files have changed.

Networks are the same whichever files hold them: a folder, a single file among other networks. They are compared by
samples first, which are cheap, and by whole SHA-256 before two are taken for one. Loads nothing.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from transformers import CLIPTextConfig

from minimon_server.engines.checkpoint_files import FLOATS, Checkpoint, OnDisk
from minimon_server.engines.checkpoint_loading import settings_inside
from minimon_server.engines.checkpoint_shapes import Architecture, NotSdxl, architecture_of
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.file_stamps import Stamp, stamp_or_missing
from minimon_server.engines.model_folders import BrokenModel, ModelFolder, read_json
from minimon_server.engines.part_tensors import (
    Head,
    OddFile,
    Span,
    head_of,
    sampled,
    spans_inside,
    spans_of_folder,
    whole,
)
from minimon_server.engines.sdxl_loading import CLASSES, Place, dtype_of
from minimon_server.engines.weight_files import weight_files

# What the libraries write into a configuration of where it came from, or how it was trained: it computes nothing.
_IDLE: Final = frozenset(
    {
        *("_name_or_path", "_diffusers_version", "_class_name", "transformers_version", "architectures"),
        *("dtype", "torch_dtype", "initializer_factor", "initializer_range", "dropout"),
    }
)
# CLIPTextModel has no projection, whatever its configuration says of one.
_NO_PROJECTION: Final = {"text_encoder": frozenset({"projection_dim"})}


@dataclass(frozen=True, slots=True)
class Content:
    """What a network is made of: `key` is the same for two of the same samples and settings; `spans` are the whole.

    `inside`: its files hold other networks, too.
    """

    key: str
    files: tuple[Path, ...]
    spans: tuple[Span, ...]
    inside: bool

    def is_that_of(self, other: Content | None, stamps: Mapping[Path, Stamp], hashes: FileHashes) -> bool:
        """Return whether both hold the same to the last byte, by SHA-256; files that cannot be read are like none.

        `stamps` are those of the other's files as they were read: none is what it was once it has changed. This may
        block for as long as reading takes what nobody has hashed yet: whole files, of a single file only those weights.
        """
        if other is None or self.key != other.key or stamps_of(stamps) != stamps:
            return False
        if self.files == other.files:
            return True
        try:
            same = self._are_copies(other, hashes) or self._digest(hashes) == other._digest(hashes)
        except OSError:
            return False  # whoever loads them says what is wrong
        return same and stamps_of(stamps) == stamps

    def _are_copies(self, other: Content, hashes: FileHashes) -> bool:
        """Whether the files are the same, whose hashes are needed anyway; those of single files hold more than this."""
        if self.inside or other.inside or len(self.files) != len(other.files):
            return False
        return all(
            hashes.of(one) == hashes.of(two) for one, two in zip(self.files, other.files, strict=True) if one != two
        )

    def _digest(self, hashes: FileHashes) -> str:
        return hashes.of_part_of_several(self.files, self.key, lambda: whole(self.spans))


# A network in memory: its name in the pool, its content, and the stamps of its files as they were read.
Held = tuple[str, Content | None, Mapping[Path, Stamp]]


def contents_of(model: OnDisk, place: Place) -> dict[str, Content]:
    """Return the content of each network of a model as it is built for `place`.

    One whose files cannot be read has none: it is loaded by itself, or whoever loads it says what is wrong.
    """
    found: dict[str, Content] = {}
    files = {part: tuple(paths) for part, paths in weight_files(model).items() if paths}
    for part, settings, spans, inside in _networks(model, files):
        used = {one.dtype for one in spans}
        # On a CPU, weights that are in a file as they are wanted are used where they lie in it.
        lies = place.device.type == "cpu" and any(
            FLOATS[one] == dtype_of(part, place, settings).itemsize for one in used
        )
        told = [part, str(place.dtype), _built_with(part, settings), inside if lies else None]
        try:
            samples = sampled(spans, lies)
        except OSError:
            continue
        key = sha256(json.dumps([*told, samples], sort_keys=True).encode()).hexdigest()
        found[part] = Content(f"{part} {key}", files[part], tuple(spans), inside)
    return found


def same_networks(contents: Mapping[str, Content], pool: Sequence[Held], hashes: FileHashes) -> dict[str, str]:
    """Return the networks that are in memory already, by their names in the pool; this may block as `is_that_of`."""
    found = {}
    for network, content in contents.items():
        names = (name for name, other, stamps in pool if content.is_that_of(other, stamps, hashes))
        name = next(names, None)
        if name is not None:
            found[network] = name
    return found


def stamps_of(files: Iterable[Path]) -> dict[Path, Stamp]:
    """Return the stamp of each file, `MISSING` of one that cannot be looked at."""
    return {file: stamp_or_missing(file) for file in files}


def _networks(
    model: OnDisk, files: Mapping[str, tuple[Path, ...]]
) -> Iterator[tuple[str, Mapping[str, Any], list[Span], bool]]:
    """Yield each network that can be read: its part, its settings, its weights, whether others lie in the same file."""
    head = _inside(model) if isinstance(model, Checkpoint) else None
    for part, paths in files.items():
        lies_in = _own_folder(model, part)
        try:
            if lies_in is not None:
                settings: Mapping[str, Any] = read_json(lies_in, "config.json")
                spans = spans_of_folder(paths)
            elif head is not None and isinstance(model, Checkpoint):
                settings = settings_inside(model, head[1], part)
                spans = spans_inside(head[0], part, settings)
            else:
                continue
        # A configuration may be anything, and the library renames by it.
        except (
            OSError,
            OddFile,
            BrokenModel,
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ):
            continue
        yield part, settings, spans, lies_in is None


def _own_folder(model: OnDisk, part: str) -> Path | None:
    """Return the folder that holds a network of its own; None: it is inside a single file."""
    if isinstance(model, ModelFolder):
        return model.path / part
    return model.vae if part == "vae" else None


def _inside(model: Checkpoint) -> tuple[Head, Architecture] | None:
    """Return what lies in a single file and how it is built; None where that cannot be told."""
    try:
        head = head_of(model.path)
        return head, architecture_of(head.shapes)
    except (OSError, OddFile, NotSdxl):
        return None


@cache
def _usual(part: str) -> Mapping[str, Any]:
    """Return what a network is built with where nobody says otherwise."""
    if part.startswith("text_encoder"):
        return CLIPTextConfig().to_dict()
    known = inspect.signature(CLASSES[part].__init__).parameters.values()
    return {one.name: one.default for one in known if one.default is not inspect.Parameter.empty}


def _built_with(part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a network is built with, as said or by default, without what computes nothing."""
    idle = _IDLE | _NO_PROJECTION.get(part, frozenset())
    return {name: value for name, value in {**_usual(part), **settings}.items() if name not in idle}
