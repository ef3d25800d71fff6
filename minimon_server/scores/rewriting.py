"""The last records of a ledger written anew, by way of a synced copy. Judges none of them.

After a failed sync the page cache may show lines that the disk never got. A start that dies over this finds the copy,
and goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from minimon_server.disk import check_size, read_parts, remove, write_all, write_parts
from minimon_server.errors import Text
from minimon_server.scores.ledger import Paths
from minimon_server.scores.scan import Tampered


def rewrite(descriptor: int, start: int, paths: Paths) -> None:
    """Write everything from offset `start` of the ledger anew."""
    end, tail = os.fstat(descriptor).st_size, paths.beside("tail")

    def parts() -> Iterator[bytes]:
        yield b"%d\n" % start
        yield from read_parts(descriptor, start, end)

    write_parts(tail, parts())
    _write_back(descriptor, tail)


def finish(paths: Paths) -> tuple[int, int] | None:
    """Write what the copy holds, if there is one; return where it begins in the ledger, and its length."""
    tail = paths.beside("tail")
    if not tail.exists():
        return None
    descriptor = os.open(paths.ledger, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        return _write_back(descriptor, tail)
    finally:
        os.close(descriptor)


def _write_back(descriptor: int, tail: Path) -> tuple[int, int]:
    source = os.open(tail, os.O_RDONLY | os.O_CLOEXEC)
    try:
        first, found, _ = os.pread(source, 32, 0).partition(b"\n")
        start = int(first) if found and first.isdigit() else -1
        end = os.fstat(source).st_size
        length = end - len(first) - 1
        if not 0 <= start <= os.fstat(descriptor).st_size <= start + length:
            raise Tampered(
                Text(
                    f"{tail.name} ne va pas avec le registre : mettez ce fichier de côté",
                    f"{tail.name} does not fit the ledger: move that file aside",
                )
            )
        _replay(descriptor, start, read_parts(source, end - length, end), length)
    finally:
        os.close(source)
    remove(tail)
    return start, length


def _replay(descriptor: int, start: int, parts: Iterable[bytes], length: int) -> None:
    os.ftruncate(descriptor, start)
    for part in parts:
        write_all(descriptor, part)
    check_size(descriptor, start + length)  # or the copy would be removed while it is needed
    os.fdatasync(descriptor)
