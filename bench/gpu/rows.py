"""What one measurement gave, or why there is none, as lines of JSON from a child to its parent. Measures nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure: of a part (`unet`), in a mode (`graphs`), at a batch."""

    part: str
    mode: str
    batch: int
    median: float
    low: float
    high: float
    calls: int
    unit: str = "ms"
    peak_mib: float | None = None  # of the device's memory, all that was held at once


@dataclass(frozen=True)
class Left:
    """What was left out, and why."""

    what: str
    why: str


@dataclass
class Found:
    """All that came out of some children."""

    rows: list[Row] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Lines:
    """Writes what is found to a file, line by line, so that nothing is lost with the process that found it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, *found: Row | Left) -> None:
        """Write rows, and what was left out."""
        self._write({"row" if isinstance(one, Row) else "left": asdict(one)} for one in found)

    def fact(self, name: str, value: object) -> None:
        """Write something that holds for more than a row; told again, it is replaced."""
        self._write([{"fact": {name: value}}])

    def _write(self, lines: Iterable[Mapping[str, object]]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def read(path: Path, found: Found) -> None:
    """Add the lines of a file, where there is one; a last line that a killed child left unfinished is told."""
    if not path.exists():
        return
    for line in path.read_text("utf-8").splitlines():
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:
            found.left.append(Left("a line of the results", "it was not written to its end"))
            continue
        if "row" in said:
            found.rows.append(Row(**said["row"]))
        elif "left" in said:
            found.left.append(Left(**said["left"]))
        else:
            found.facts.update(said["fact"])
