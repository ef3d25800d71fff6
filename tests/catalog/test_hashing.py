"""The hash of a file that grows: every byte once, whoever reads it; what could not be synced is told."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from minimon_server.catalog import hashing
from minimon_server.catalog.hashing import GrowingHash, NotKept
from tests.catalog.fetch_scene import DATA, FILE, Place, whole
from tests.catalog.hub_scene import Place as Hub
from tests.catalog.hub_server import Fault


def failing(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """Let syncs of files whose names end so fail, as on a disk that loses what it was given."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith(ending):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def grow(path: Path, growing: GrowingHash, data: bytes, step: int) -> None:
    with path.open("ab", buffering=0) as file, growing.following():
        for at in range(0, len(data), step):
            file.write(data[at : at + step])
            growing.grown(len(data[at : at + step]))


def grow_for_ever(path: Path, growing: GrowingHash) -> None:
    while True:  # the thread may be ended before it has read anything
        grow(path, growing, b"y" * 100, 1)


@pytest.mark.parametrize("often", [1, 100_000, 1 << 30])
def test_every_byte_counts_once_however_the_file_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, often: int
) -> None:
    monkeypatch.setattr(hashing, "_OFTEN", often)
    monkeypatch.setattr(hashing, "_SYNCED", 200_000)
    path, data = tmp_path / "file", os.urandom(3_000_001)
    path.write_bytes(data[:70_000])  # what an earlier time had left
    growing = GrowingHash(path)
    grow(path, growing, data[70_000:2_000_000], 65_536)
    grow(path, growing, b"", 1)
    grow(path, growing, data[2_000_000:], 9_999)
    assert growing.whole() == (len(data), hashlib.sha256(data).hexdigest())
    assert growing.whole() == GrowingHash(path).whole()


def test_a_sync_that_failed_meanwhile_is_told_when_it_is_followed_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_OFTEN", 1)
    monkeypatch.setattr(hashing, "_SYNCED", 1)
    path = tmp_path / "file"
    path.write_bytes(b"x")
    growing = GrowingHash(path)
    with monkeypatch.context() as broken:
        failing(broken, "/file")
        with pytest.raises(NotKept, match="Input/output error"):
            grow_for_ever(path, growing)


def test_an_interrupt_stays_one_and_what_was_lost_meanwhile_is_thrown_away(
    here: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_OFTEN", 1)
    monkeypatch.setattr(hashing, "_SYNCED", 1)
    grown = GrowingHash.grown

    def interrupted(growing: GrowingHash, count: int) -> None:
        grown(growing, count)
        for thread in threading.enumerate():
            if thread.name == "hash":
                thread.join(60)  # it ends at the sync that fails
        raise KeyboardInterrupt

    monkeypatch.setattr(GrowingHash, "grown", interrupted)
    with monkeypatch.context() as broken:
        failing(broken, ".part")
        assert here.run("--lora", "neon") == 130
    said = "Interrupted; what came of the last file did not reach the disk (input/output error) and is thrown away."
    assert said in here.said()
    assert here.files() == []


@pytest.mark.parametrize("synced", [1, 1 << 30], ids=["meanwhile", "at the end"])
def test_what_could_not_be_synced_is_thrown_away(at: Place, monkeypatch: pytest.MonkeyPatch, synced: int) -> None:
    monkeypatch.setattr(hashing, "_SYNCED", synced)
    monkeypatch.setattr(hashing, "_OFTEN", 1)
    with monkeypatch.context() as broken:
        failing(broken, ".part")
        with pytest.raises(NotKept, match="Input/output error"):
            at.fetch()
    assert at.names() == []  # the next sync of the same bytes would say that all is well
    at.server.faults[FILE] = [Fault(after=300_000)]
    at.fetch()
    whole(at)
    assert at.server.ranges(FILE) == ["", "", "bytes=300000-"]
    assert len(DATA) > 300_000
