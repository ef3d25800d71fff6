"""The note beside what was fetched: from where, which revision, which hashes, when. Fetches and judges nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from minimon_server.catalog.fetching import Fetched, hash_of
from minimon_server.catalog.kept import read_bounded
from minimon_server.disk import write_whole

LARGEST: Final = 1 << 20
IN_FOLDER: Final = "download.json"


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
