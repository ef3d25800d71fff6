"""Words that somebody trained: the files of models/embeddings/, found by name and read when a prompt holds them.

A file `name.safetensors` is the word `name`: vectors that stand in for what the token embeddings would give. Files of
other kinds that such words come in are pickles, which run what they hold when they are read: told, never opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open

from minimon_server.engines.trained_files import LARGEST_FILE, digest_of
from minimon_server.logs import Logger

MOST_FILES: Final = 10_000
PICKLES: Final = ("pt", "bin", "ckpt", "pth")
# The names of the two tensors: A1111's and most trainers', and those of diffusers' pivotal tuning.
PAIRS: Final = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))

Signature = tuple[str, int, int]
# Called with the name of a trained word that a prompt holds and that cannot be used, and why.
Ignore = Callable[[str, str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """One trained word: for each text encoder `count` vectors, float32, of that encoder's width; its file's SHA-256."""

    name: str
    vectors: tuple[torch.Tensor, torch.Tensor]
    digest: str

    @property
    def count(self) -> int:
        """How many tokens it takes."""
        return int(self.vectors[0].shape[0])


# The trained word whose name begins at a place of some tokens, and how many tokens the name has.
Find = Callable[[list[int], int], tuple[Embedding, int] | None]


class UnusableEmbedding(Exception):
    """Why a file is not used, for people and without paths."""


class TrainedWords:
    """The trained words of one folder, looked up again at every request. For one thread."""

    def __init__(self, root: Path, log: Logger) -> None:
        self._root = root
        self._log = log
        self._read: dict[tuple[Signature, tuple[int, int]], Embedding | str] = {}
        self._told: set[object] = set()
        self._tokens: WeakKeyDictionary[Any, dict[str, list[int]]] = WeakKeyDictionary()  # of a tokenizer: of a name

    def names(self) -> Mapping[str, str]:
        """Return the words and the names of their files; a safetensors file goes before a pickle of the same name."""
        found: dict[str, str] = {}
        try:
            with os.scandir(self._root) as entries:
                files = sorted(entry.name for entry in entries)
        except FileNotFoundError:
            return found  # no folder, no words: as a new installation is
        except OSError as error:
            self._tell("embeddings cannot be listed", reason=(error.strerror or str(error)).lower())
            return found
        if len(files) > MOST_FILES:
            self._tell("embeddings left out", reason=f"more than {MOST_FILES} files")
        for file in files[:MOST_FILES]:
            name, _, kind = file.rpartition(".")  # this runs at every request: no Path
            if name and kind.lower() == "safetensors":
                found[name] = file
            elif name and kind.lower() in PICKLES:
                self._tell("embedding cannot be used", embedding=name, reason=_is_pickle(file))
                found.setdefault(name, file)
        return found

    def read(self, name: str, path: Path, widths: tuple[int, int], room: int) -> Embedding:
        """Return the word of a file for encoders of `widths`; raise `UnusableEmbedding` with what is wrong with it.

        `room` is how many tokens a chunk holds: a word is never parted.
        """
        try:
            state = path.stat()
            key = (str(path), state.st_mtime_ns, state.st_size), widths
            found = self._read.get(key)
            if found is None:
                found = self._read[key] = read_embedding(name, path, widths, room)
        except OSError as error:
            found = f"it cannot be read ({(error.strerror or 'error').lower()})"
        except UnusableEmbedding as error:
            found = self._read[key] = str(error)
        if isinstance(found, Embedding):
            return found
        self._tell("embedding cannot be used", embedding=name, reason=found)
        raise UnusableEmbedding(found)

    def finder(
        self, names: Mapping[str, str], tokenizer: Any, widths: tuple[int, int], room: int, ignore: Ignore
    ) -> Find:
        """Return what finds a trained word among tokens: as A1111, by the tokens of its name, the longest name first.

        A word that cannot be used is told to `ignore`, and stays the plain word that it is.
        """
        starts: dict[int, list[tuple[list[int], str]]] = {}
        for name, ids in self._tokenized(names, tokenizer).items():
            if ids:
                starts.setdefault(ids[0], []).append((ids, name))
        for same_start in starts.values():
            same_start.sort(key=lambda one: len(one[0]), reverse=True)

        def find(ids: list[int], at: int) -> tuple[Embedding, int] | None:
            for wanted, name in starts.get(ids[at], ()):
                if ids[at : at + len(wanted)] == wanted:
                    try:
                        return self.read(name, self._root / names[name], widths, room), len(wanted)
                    except UnusableEmbedding as error:
                        ignore(name, str(error))
            return None

        return find

    def _tokenized(self, names: Mapping[str, str], tokenizer: Any) -> dict[str, list[int]]:
        known = self._tokens.setdefault(tokenizer, {})
        for gone in known.keys() - names.keys():
            del known[gone]
        new = [name for name in names if name not in known]
        if new:
            found = tokenizer(new, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
            known.update(zip(new, found, strict=True))
        return known

    def _tell(self, event: str, **facts: str) -> None:
        """Say something once."""
        said = (event, *facts.items())
        if said not in self._told:
            self._told.add(said)
            self._log.warning(event, folder=str(self._root), **facts)


def read_embedding(name: str, path: Path, widths: tuple[int, int], room: int) -> Embedding:
    """Return what a file holds; raise `UnusableEmbedding` when that is not a word for encoders of `widths`.

    Two tensors [n, width], one for each encoder; or one [n, sum of the widths], cut in this order.
    """
    if path.suffix.lower().removeprefix(".") in PICKLES:
        raise UnusableEmbedding(_is_pickle(path.name))
    if path.stat().st_size > LARGEST_FILE:
        raise UnusableEmbedding(f"it is larger than {LARGEST_FILE // 2**20} MiB")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 # no mapping
            keys = _keys(shapes, widths, room)
            tensors = [file.get_tensor(key) for key in keys]
    except SafetensorError:
        raise UnusableEmbedding("it is not a safetensors file") from None
    if not all(tensor.is_floating_point() and bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise UnusableEmbedding("it holds something that is not a number")
    vectors = [tensor.float().reshape(-1, tensor.shape[-1]) for tensor in tensors]
    if len(vectors) == 1:
        vectors = [part.contiguous() for part in vectors[0].split(list(widths), dim=1)]
    return Embedding(name, (vectors[0], vectors[1]), digest_of(path))


def _keys(shapes: Mapping[str, tuple[int, ...]], widths: tuple[int, int], room: int) -> list[str]:
    """Return the names of the tensors to read; raise `UnusableEmbedding` where their shapes are not this model's."""
    pair = next((pair for pair in PAIRS if set(pair) <= set(shapes)), None)
    keys, expected = (list(pair), widths) if pair else (list(shapes), (sum(widths),))
    if len(keys) != len(expected):
        raise UnusableEmbedding(f"it holds {len(keys)} tensors, not clip_l and clip_g, nor a single one")
    counts = set()
    for key, width in zip(keys, expected, strict=True):
        shape = shapes[key]
        if len(shape) not in (1, 2) or shape[-1] != width:
            raise UnusableEmbedding(f"made for another model: {key} is {list(shape)}, this model's width is {width}")
        counts.add(shape[0] if len(shape) == 2 else 1)
    if len(counts) != 1 or not 1 <= max(counts) <= room:
        raise UnusableEmbedding(f"it holds {sorted(counts)} vectors: each encoder takes the same, 1 to {room}")
    return keys


def _is_pickle(file: str) -> str:
    return f"{file} is a pickle, which could run anything: safetensors only"


def nothing_trained(_: list[int], __: int) -> None:
    """Find nothing: what there is where nobody has trained words."""
