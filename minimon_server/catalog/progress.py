"""How far a download is, for a person: a bar on a terminal, now and then a line anywhere else. Fetches nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

BAR: Final = 24
BAR_SECONDS: Final = 0.2
LINE_SECONDS: Final = 15.0


class Shown:
    """Writes to one stream, usually standard error."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._is_terminal = out.isatty()
        self._name, self._total = "", 0
        self._done = self._began_with = 0
        self._began = self._told = 0.0
        self._width = 0

    def begin(self, name: str, done: int, total: int | None) -> None:
        """Show a file of which `done` bytes are there already; `total` is None where nobody says."""
        self._name, self._done, self._total = name, done, total or 0
        self._began_with, self._began = done, self._clock()
        self._told = self._began
        if done:
            self.say(f"{name}: continued after {size_of(done)}")
        self._show()

    def add(self, count: int) -> None:
        """Show `count` bytes more."""
        self._done += count
        now = self._clock()
        if now - self._told >= (BAR_SECONDS if self._is_terminal else LINE_SECONDS):
            self._told = now
            self._show()

    def end(self) -> None:
        """Show the last state of this file, and begin a new line."""
        self._show()
        if self._is_terminal:
            self._out.write("\n")
            self._width = 0

    def say(self, line: str) -> None:
        """Write a line of its own."""
        if self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._width = 0
        self._out.write(line + "\n")
        self._out.flush()

    def _show(self) -> None:
        told = self._told_now()
        if self._is_terminal:
            self._out.write("\r" + told.ljust(self._width))
            self._width = len(told)
        else:
            self._out.write(told + "\n")
        self._out.flush()

    def _told_now(self) -> str:
        seconds = max(self._clock() - self._began, 1e-3)
        rate = (self._done - self._began_with) / seconds
        parts = [self._name]
        if self._total:
            share = min(1.0, self._done / self._total)
            filled = int(share * BAR)
            parts.append(f"[{'#' * filled}{'.' * (BAR - filled)}] {share:4.0%}")
        parts.append(size_of(self._done) + (f" of {size_of(self._total)}" if self._total else ""))
        if self._done > self._began_with:
            parts.append(f"{size_of(int(rate))}/s")
            if self._total > self._done:
                parts.append(f"{_time_of((self._total - self._done) / rate)} left")
        return "  ".join(parts)


def size_of(count: float) -> str:
    """Return a number of bytes as people say it, in thousands."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def _time_of(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
