"""What a safetensors file holds, by its header alone: names, types and shapes. Reads no tensor, runs nothing.

The format: 8 bytes, the length N of the header, little endian; N bytes of JSON; the tensors, without gaps
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import orjson

from minimon_server.catalog.kept import open_plain

LARGEST: Final = 32 * 1024 * 1024
MOST_DIMENSIONS: Final = 16
# Bits of one number, by the name that the format gives its type.
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip


class NotSafetensors(Exception):
    """Why a file is none, or not a whole one; for people."""


@dataclass(frozen=True, slots=True)
class Header:
    """The shape of each tensor by its name, and the texts that came with them."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Return what the file at `path` holds; raise `NotSafetensors` when it is none or was cut, or `OSError`."""
    with os.fdopen(open_plain(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length < 2 or length > size - 8 or length > LARGEST:
            raise NotSafetensors(_instead(start + file.read(8)))
        said = file.read(length)
    if len(said) != length or said[:1] != b"{":
        raise NotSafetensors(_instead(start + said[:8]))
    try:
        members = orjson.loads(said)
    except orjson.JSONDecodeError:
        raise NotSafetensors("its header is not JSON") from None
    metadata = members.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise NotSafetensors("its metadata are not texts")
    _check_places({name: _checked(name, tensor) for name, tensor in members.items()}, size - 8 - length)
    return Header({name: tuple(tensor["shape"]) for name, tensor in members.items()}, metadata)


def _instead(start: bytes) -> str:
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "it is a pickle, which could run anything when it is read: safetensors only"
    if start.lstrip()[:1] == b"<":
        return "it is a web page, not a model"
    return "it is not a safetensors file"


def _checked(name: str, tensor: Any) -> tuple[int, int]:
    """Return where a tensor begins and ends; raise `NotSafetensors` when that is not what its shape says."""
    told = name[:64] if name.isprintable() else ascii(name[:64])
    try:
        kind, shape, (begin, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        numbers = [*shape, begin, end]
        sound = all(type(number) is int and 0 <= number < 1 << 50 for number in numbers) and type(shape) is list
        bits = BITS[kind] * prod(shape) if sound and len(shape) <= MOST_DIMENSIONS else -1
    except (LookupError, TypeError, ValueError):
        raise NotSafetensors(f"its tensor {told} is not described as the format wants") from None
    if bits % 8 or end - begin != bits // 8:
        raise NotSafetensors(f"its tensor {told} has another size than its shape")
    return begin, end


def _check_places(places: Mapping[str, tuple[int, int]], size: int) -> None:
    at = 0
    for begin, end in sorted(places.values()):
        if begin != at:
            raise NotSafetensors("its tensors do not lie one after the other")
        at = end
    if at > size:
        raise NotSafetensors(f"it was cut: {at - size} bytes are missing")
    if at < size:
        raise NotSafetensors(f"it has {size - at} bytes too many")
