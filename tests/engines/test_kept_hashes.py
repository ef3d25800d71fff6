"""Hashes kept on the disk: there at the next start, for that very file only, beside other processes."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import stat
import time
from collections.abc import Callable
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pytest

from minimon_server.engines import kept_hashes
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.file_stamps import sure_stamp_of
from minimon_server.engines.kept_hashes import MOST_KEPT, SETTLED_NS, SMALLEST_FILE, KeptHashes
from minimon_server.logs import Logger

Logged = Callable[[], list[dict[str, Any]]]


def later() -> int:
    """Tell a time at which every file of a test has long been as it is."""
    return time.time_ns() + 10 * SETTLED_NS


def big(path: Path, ending: bytes = b"") -> Path:
    """Write a file that is large enough to be worth it, most of it a hole."""
    with path.open("wb") as file:
        file.truncate(SMALLEST_FILE)
        file.seek(0, os.SEEK_END)
        file.write(ending)
    return path


def true_hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hashes.json"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are read to be hashed."""
    found: list[str] = []

    def hashed(file: Any, kind: str) -> Any:
        found.append(Path(file.name).name)
        return file_digest(file, kind)

    monkeypatch.setattr("minimon_server.engines.file_hashes.file_digest", hashed)
    return found


def started(store: Path, log: Logger) -> FileHashes:
    """Return the hashes of a process that has just begun."""
    return FileHashes(log, KeptHashes(store, log, later))


def test_a_later_start_reads_no_file_again(store: Path, tmp_path: Path, quiet: Logger, read: list[str]) -> None:
    one, two = big(tmp_path / "one", b"1"), big(tmp_path / "two", b"2")
    first = started(store, quiet)
    told = [first.of(path) for path in (one, two)]
    assert told == [true_hash(one), true_hash(two)]
    assert read == ["one", "two"]
    again = started(store, quiet)
    assert [again.of(path) for path in (one, two)] == told
    assert read == ["one", "two"]
    assert not list(store.parent.glob("*.new"))


@pytest.mark.parametrize("part", range(5))
def test_no_hash_is_trusted_when_any_part_of_the_stamp_differs(
    store: Path, tmp_path: Path, quiet: Logger, read: list[str], part: int
) -> None:
    path = big(tmp_path / "one")
    right = started(store, quiet).of(path)
    told = json.loads(store.read_text())
    told["files"][str(path)]["sha256"] = "0" * 64  # so that trust would show
    store.write_text(json.dumps(told))
    assert started(store, quiet).of(path) == "0" * 64
    told["files"][str(path)]["stamp"][part] += 1
    store.write_text(json.dumps(told))
    assert started(store, quiet).of(path) == right
    assert read == ["one", "one"]


def test_a_file_that_was_written_in_place_and_made_to_look_old_is_another(
    store: Path, tmp_path: Path, quiet: Logger
) -> None:
    path = big(tmp_path / "one", b"aaaa")
    hashes, before = started(store, quiet), path.stat()
    former = hashes.of(path)
    time.sleep(0.05)  # more than one tick of the kernel's clock
    with path.open("r+b") as file:
        file.write(b"bbbb")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino
    for one in (hashes, started(store, quiet)):
        assert one.of(path) == true_hash(path) != former


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b'{"schema": 1, "files": {"/a": ', "not JSON"),
        (b"[]", "not the form of kept hashes (TypeError)"),
        (b'{"schema": 2, "files": {}}', "schema 2, not 1"),
        (b'{"schema": 1, "files": {"/a": {"stamp": [1, 2], "sha256": ""}}}', "five whole numbers"),
        (b'{"schema": 1, "files": {"/a": {"stamp": [1, 2, 3, 4, 5], "sha256": "AB"}}}', "64 hexadecimal digits"),
        (b" " * (kept_hashes.LARGEST + 1), "more than 8 MiB"),
    ],
)
def test_a_damaged_file_is_told_put_aside_and_begun_anew(
    store: Path, tmp_path: Path, log: Logger, logged: Logged, read: list[str], content: bytes, reason: str
) -> None:
    store.parent.mkdir()
    store.write_bytes(content)
    path = big(tmp_path / "one")
    right = true_hash(path)
    assert started(store, log).of(path) == right
    assert started(store, log).of(path) == right
    assert read == ["one"]
    (line,) = [line for line in logged() if line["event"] == "kept hashes are damaged"]
    assert reason in line["reason"]
    assert (line["file"], line["aside"]) == (str(store), "hashes.json.damaged")
    assert store.with_name("hashes.json.damaged").read_bytes() == content


def test_what_cannot_be_read_or_written_is_told_once_and_hinders_nothing(
    store: Path, tmp_path: Path, log: Logger, logged: Logged
) -> None:
    store.mkdir(parents=True)  # a folder where the file should be; rights would not stop root
    hashes = started(store, log)
    for name in ("one", "two"):
        assert hashes.of(big(tmp_path / name)) == true_hash(tmp_path / name)
    (line,) = [line for line in logged() if line["level"] == "warning"]
    assert (line["event"], line["reason"]) == ("kept hashes cannot be read", "is a directory")
    assert store.is_dir()
    (tmp_path / "file").write_bytes(b"")
    assert started(tmp_path / "file" / "hashes.json", log).of(tmp_path / "one") == true_hash(tmp_path / "one")
    assert [line["event"] for line in logged() if line["level"] == "warning"][1:] == ["hashes are not kept"]


def test_what_is_small_or_was_just_written_is_not_kept(store: Path, tmp_path: Path, quiet: Logger) -> None:
    (tmp_path / "small").write_bytes(b"small")
    path = big(tmp_path / "one")
    now = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    for moment in (now, now + SETTLED_NS - 1):
        FileHashes(quiet, KeptHashes(store, quiet, partial(int, moment))).of(path)
    started(store, quiet).of(tmp_path / "small")
    assert not store.exists()
    FileHashes(quiet, KeptHashes(store, quiet, lambda: now + SETTLED_NS)).of(path)
    assert list(json.loads(store.read_text())["files"]) == [str(path)]
    assert stat.S_IMODE(store.stat().st_mode) & 0o022 == 0


def test_so_many_are_kept_and_the_oldest_go(store: Path, tmp_path: Path, quiet: Logger) -> None:
    path = big(tmp_path / "one")
    stamp, digest = sure_stamp_of(path), true_hash(path)
    files = {f"/gone/{number}": {"stamp": stamp, "sha256": digest} for number in range(MOST_KEPT)}
    store.parent.mkdir()
    store.write_text(json.dumps({"schema": 1, "files": files}))
    started(store, quiet).of(path)
    kept = list(json.loads(store.read_text())["files"])
    assert len(kept) == MOST_KEPT
    assert (kept[0], kept[-1]) == ("/gone/1", str(path))


def _keep_many(store: str, folder: str, name: str, count: int) -> None:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    from minimon_server.logs import Lines, LogSink

    sink = LogSink(descriptor)
    hashes = started(Path(store), Lines(sink, level="INFO", as_json=True, secrets=()).logger())
    for number in range(count):
        hashes.of(Path(folder) / f"{name}{number}")
    sink.close()


def test_processes_that_write_at_once_lose_nothing(store: Path, tmp_path: Path, quiet: Logger) -> None:
    count, names = 12, ("a", "b", "c")
    for name in names:
        for number in range(count):
            big(tmp_path / f"{name}{number}", f"{name}{number}".encode())
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_keep_many, args=(str(store), str(tmp_path), name, count)) for name in names]
    for process in running:
        process.start()
    for process in running:
        process.join(240)
        assert process.exitcode == 0
    told = json.loads(store.read_text())["files"]
    assert {Path(path).name: one["sha256"] for path, one in told.items()} == {
        f"{name}{number}": true_hash(tmp_path / f"{name}{number}") for name in names for number in range(count)
    }


def test_another_process_that_does_not_end_its_writing_is_not_waited_for(
    store: Path, tmp_path: Path, log: Logger, logged: Logged
) -> None:
    path = big(tmp_path / "one")
    store.parent.mkdir()
    with store.with_name("hashes.json.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        hashes = started(store, log)
        assert hashes.of(path) == true_hash(path)
    (line,) = [line for line in logged() if line["event"] == "hashes are not kept"]
    assert line["reason"] == "resource temporarily unavailable"
    assert not store.exists()
