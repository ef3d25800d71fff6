"""Where the tensors of one network lie in its files, by the names that the network has for them; and their digests.

A folder and a single file name them differently: here they have one name. Files are read, not mapped, and no more of
them than is asked for. Loads no network.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch

from minimon_server.engines.checkpoint_files import FLOATS, LARGEST_HEAD
from minimon_server.engines.checkpoint_loading import IDLE_BUFFERS, renamed
from minimon_server.engines.checkpoint_shapes import PLACES, Settings, Shapes
from minimon_server.engines.weights_digest import SAMPLE_BYTES, SAMPLES

ALIGNED: Final = 64  # bytes: the widest that a CPU's kernels read at once
CHUNK: Final = 1 << 20  # bytes that are hashed at once
# CLIP's body is a layer of its own in some versions of the library only, and so in some files.
_BODY: Final = "text_model."


class OddFile(Exception):
    """A file is no whole safetensors file of plain weights: whoever loads it says what is wrong."""


@dataclass(frozen=True, slots=True)
class Span:
    """One tensor: its type as the format names it, its shape in the network, and the bytes of its file that it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of one safetensors file says; the spans' names and shapes are those of the file."""

    spans: tuple[Span, ...]

    @property
    def shapes(self) -> Shapes:
        """The shape of each tensor by its name."""
        return {one.name: one.shape for one in self.spans}


def head_of(file: Path) -> Head:
    """Return what the head of a file says; raise `OSError` or `OddFile`."""
    whole = file.stat().st_size
    with file.open("rb", buffering=0) as opened:
        size = int.from_bytes(opened.read(8), "little")
        if size > min(whole, LARGEST_HEAD):
            raise OddFile(file.name)
        said = opened.read(size)
    try:
        told = {name: one for name, one in json.loads(said).items() if name != "__metadata__"}
        spans = tuple(_span(file, name, one, 8 + size) for name, one in told.items())
    except (ValueError, LookupError, TypeError, AttributeError):
        raise OddFile(file.name) from None
    if any(one.start < 8 + size or one.size < 0 or one.start + one.size > whole for one in spans):
        raise OddFile(file.name)
    return Head(spans)


def spans_of_folder(files: Sequence[Path]) -> list[Span]:
    """Return the weights of a network in diffusers' layout, which may lie in several files; raise as `head_of`."""
    found = [one for file in files for one in head_of(file).spans if not one.name.endswith(IDLE_BUFFERS)]
    return sorted((_named(one, one.name.removeprefix(_BODY), one.shape) for one in found), key=lambda one: one.name)


def spans_inside(head: Head, part: str, settings: Settings) -> list[Span]:
    """Return the weights of one part of a single file, sorted; raise `OddFile` for what are no plain weights.

    Those of the second text encoder keep the names and shapes of the file: it holds three of the network's in one.
    """
    place = PLACES[part]
    own = [one for one in head.spans if one.name.startswith(place) and not one.name.endswith(IDLE_BUFFERS)]
    if part == "text_encoder_2":
        return sorted((_named(one, one.name, one.shape) for one in own), key=lambda one: one.name)
    # The library renames tensors. These have one number in memory, their own in `own`, in whatever shape.
    told = {one.name: torch.tensor(float(number)).expand(one.shape) for number, one in enumerate(own)}
    found = []
    for name, tensor in renamed(part, settings, told, None).items():
        span = own[int(tensor.flatten()[0])]
        if tensor.numel() != math.prod(span.shape):
            raise OddFile(f"{span.name} becomes {tuple(tensor.shape)}")
        found.append(_named(span, name, tuple(tensor.shape)))
    return sorted(found, key=lambda one: one.name)


def sampled(spans: Sequence[Span], lies: bool) -> str:
    """Return a SHA-256 over names, types, shapes and samples spread evenly over all bytes; raise `OSError`.

    `lies`: and over where each lies in its file, against the bytes that a CPU reads at once: weights that are used
    where they lie are multiplied by other kernels elsewhere, which round otherwise.
    """
    digest = sha256()
    for one in spans:
        digest.update(_line(one, one.start % ALIGNED if lies else 0))
    ends = list(accumulate(one.size for one in spans))
    with ExitStack() as opened:
        files = _open(opened, spans)
        for number in range(SAMPLES if ends and ends[-1] else 0):
            offset = ends[-1] * number // SAMPLES
            one = spans[index := bisect_right(ends, offset)]
            before = offset - (ends[index] - one.size)
            files[one.file].seek(one.start + before)
            digest.update(files[one.file].read(min(SAMPLE_BYTES, one.size - before)))
    return digest.hexdigest()


def whole(spans: Sequence[Span]) -> str:
    """Return a SHA-256 over names, types, shapes and all bytes; raise `OSError`."""
    digest = sha256()
    with ExitStack() as opened:
        files = _open(opened, spans)
        for one in spans:
            digest.update(_line(one, 0))
            for data in _read(files[one.file], one):
                digest.update(data)
    return digest.hexdigest()


def _span(file: Path, name: str, told: Mapping[str, Any], data: int) -> Span:
    start, end = (int(one) for one in told["data_offsets"])
    shape, dtype = tuple(int(one) for one in told["shape"]), str(told["dtype"])
    if dtype in FLOATS and math.prod(shape) * FLOATS[dtype] != end - start:
        raise ValueError(name)
    return Span(name, dtype, shape, file, data + start, end - start)


def _named(span: Span, name: str, shape: tuple[int, ...]) -> Span:
    if span.dtype not in FLOATS or not span.size:
        raise OddFile(f"{span.name} holds {span.dtype}, {span.size} bytes")
    return Span(name, span.dtype, shape, span.file, span.start, span.size)


def _line(span: Span, lies: int) -> bytes:
    return f"{json.dumps(span.name)} {span.dtype} {list(span.shape)} {lies}\n".encode()


def _open(stack: ExitStack, spans: Sequence[Span]) -> dict[Path, BinaryIO]:
    return {file: stack.enter_context(file.open("rb", buffering=0)) for file in {one.file for one in spans}}


def _read(file: BinaryIO, span: Span) -> Iterator[bytes]:
    file.seek(span.start)
    left = span.size
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise OSError(f"{span.file.name} has become shorter")
        left -= len(data)
        yield data
