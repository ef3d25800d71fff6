"""The note beside what was fetched: from where, which revision, which hashes, when. Fetches and judges nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from minimon_server.catalog.fetching import Fetched, hash_of
from minimon_server.catalog.kept import read_bounded
from minimon_server.disk import write_whole

LARGEST: Final = 1 << 20
IN_FOLDER: Final = "download.json"
# Of what lies in a folder: weights and their indices, configurations, and all that is in a tokenizer's folder.
_READ: Final = (".safetensors", ".json")
_TOKENIZER: Final = "tokenizer"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was fetched: `files` by their paths inside the folder, or the one file by its name; `time` is RFC 3339."""

    source: str
    files: Mapping[str, Fetched]
    time: str
    schema: int = 1


def place_of(target: Path) -> Path:
    """Return where the note of a folder or file lies."""
    return target / IN_FOLDER if target.is_dir() else target.with_name(f"{target.name}.{IN_FOLDER}")


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Write a note, durably."""
    write_whole(path, orjson.dumps(asdict(receipt), option=orjson.OPT_INDENT_2))


def read_receipt(target: Path) -> Receipt | None:
    """Return the note of a folder or file; None where there is none that can be read."""
    try:
        told = orjson.loads(read_bounded(place_of(target), LARGEST))
        files = {str(name): Fetched(int(one["size"]), str(one["sha256"])) for name, one in told["files"].items()}
        receipt = Receipt(str(told["source"]), files, str(told["time"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    sound = told.get("schema") == 1 and all(".." not in name.split("/") and name[:1] != "/" for name in files)
    return receipt if sound and files else None


def path_in(target: Path, name: str) -> Path:
    """Return where one file of a note lies."""
    return target / name if target.is_dir() else target


def is_whole(target: Path, receipt: Receipt) -> bool:
    """Return whether every file of a note is there and as long as it was: a look, no reading."""
    try:
        return all(path_in(target, name).stat().st_size == one.size for name, one in receipt.files.items())
    except OSError:
        return False


def found_in(folder: Path, *, follow: bool) -> Iterator[str]:
    """Yield the paths of all files in a folder, and of links: to files, or with `follow` false to folders too.

    With `follow` what links lead to is looked into, each folder once. Raise `OSError` for what cannot be listed.
    """
    seen: set[tuple[int, int]] = set()

    def is_new(path: Path) -> bool:
        found = path.stat()
        before = len(seen)
        seen.add((found.st_dev, found.st_ino))
        return len(seen) > before

    def refuse(error: OSError) -> None:
        raise error

    for here, folders, files in os.walk(folder, onerror=refuse, followlinks=follow):
        inside = Path(here)
        links = [] if follow else [one for one in folders if (inside / one).is_symlink()]
        for one in sorted([*files, *links]):
            yield (inside / one).relative_to(folder).as_posix()
        folders[:] = [one for one in sorted(folders) if is_new(inside / one)]


def added(target: Path, receipt: Receipt) -> tuple[list[str], list[str]]:
    """Return what lies in a folder and was not fetched: what a model is read from, then all else.

    The server takes weights, configurations and tokenizers by their names, whoever put them there. Of a single file
    both are empty. Raise `OSError` for what cannot be listed.
    """
    if not target.is_dir():
        return [], []
    others = [name for name in found_in(target, follow=True) if name not in receipt.files and name != IN_FOLDER]
    read = [name for name in others if _is_read(name)]
    return read, [name for name in others if name not in read]


def _is_read(name: str) -> bool:
    *folders, file = name.lower().split("/")
    return file.endswith(_READ) or any(one.startswith(_TOKENIZER) for one in folders)


def differences(target: Path, receipt: Receipt) -> list[str]:
    """Return what is missing or is not what was fetched, by reading every byte."""
    wrong = []
    for name, one in receipt.files.items():
        try:
            if hash_of(path_in(target, name)) != one:
                wrong.append(f"{name} is not what was fetched")
        except OSError as error:
            wrong.append(f"{name} cannot be read ({(error.strerror or 'error').lower()})")
    return wrong
