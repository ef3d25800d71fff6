"""A progress line on the terminal and a log of figures as JSON lines; decides nothing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TextIO


class Progress:
    """One line that is rewritten, on a terminal; a line now and then, in a file."""

    def __init__(self, title: str, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        self._title, self._total, self._first = title, total, done
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._told = 0.0

    def tell(self, done: int, note: str = "") -> None:
        """Say that `done` of the total are done; more often than it is worth writing does no harm."""
        now = time.monotonic()
        last = done >= self._total
        every = 0.2 if self._stream.isatty() else 30.0
        if not last and now - self._told < every:
            return
        self._told = now
        speed = (done - self._first) / max(now - self._started, 1e-6)
        left = (self._total - done) / speed if speed > 0 else 0.0
        filled = int(24 * done / max(self._total, 1))
        bar = "#" * filled + "." * (24 - filled)
        text = f"{self._title} [{bar}] {done}/{self._total} {speed:.1f}/s {left / 60:.0f} min left {note}"
        if self._stream.isatty():
            self._stream.write(f"\r{text[:150]:<150}" + ("\n" if last else ""))
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


class LossLog:
    """Appends one JSON object a line, so that a training of several days is one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, **figures: float | int | str) -> None:
        """Append the figures with the time of day."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": int(time.time()), **figures}) + "\n")
