"""Input pictures on the disk: there before their job, once for all who name them, gone when nobody needs them."""

from __future__ import annotations

import os
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from minimon_server.engines.messages import InputPicture, NormalPicture
from minimon_server.errors import StartupError
from minimon_server.jobs.input_files import InputFiles, InputLost, InputsFull


def picture(text: str, size: int = 100) -> NormalPicture:
    """Return a picture whose file has `size` bytes."""
    data = text.encode().ljust(size, b".")
    return NormalPicture(InputPicture(sha256(data).hexdigest(), 8, 6), data)


CAT, DOG = picture("cat"), picture("dog")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def file_of(one: NormalPicture) -> str:
    return f"{one.picture.digest}.png"


def test_a_picture_is_one_file_however_often_it_is_sent(tmp_path: Path) -> None:
    files = InputFiles(tmp_path / "deep" / "inputs", 1000)
    assert not (tmp_path / "deep").exists()
    for _ in range(3):
        files.hold(CAT)
    files.hold(DOG)
    assert names(tmp_path / "deep" / "inputs") == {file_of(CAT), file_of(DOG)}
    assert files.size == 200
    assert files.read(CAT.picture.digest) == CAT.png
    assert (tmp_path / "deep" / "inputs" / file_of(CAT)).stat().st_mode & 0o077 == 0


def test_what_is_held_is_never_removed_and_what_was_held_meanwhile_neither(tmp_path: Path) -> None:
    files = InputFiles(tmp_path, 1000)
    files.hold(CAT)
    assert files.idle() == frozenset()
    files.let_go([CAT.picture.digest])
    idle = files.idle()
    assert idle == {CAT.picture.digest}
    files.hold(CAT)  # by a job that is accepted while somebody asks which pictures jobs name
    files.let_go([CAT.picture.digest])
    files.remove(idle)
    assert names(tmp_path) == {file_of(CAT)}
    files.remove(files.idle())
    assert names(tmp_path) == set()
    assert files.size == 0
    files.hold(CAT)
    assert files.read(CAT.picture.digest) == CAT.png


def test_room_is_bounded_and_comes_back(tmp_path: Path) -> None:
    files = InputFiles(tmp_path, 250)
    files.hold(CAT)
    files.hold(DOG)
    files.hold(CAT)  # takes no more room
    with pytest.raises(InputsFull):
        files.hold(picture("bird"))
    assert len(names(tmp_path)) == 2
    files.let_go([DOG.picture.digest])
    files.remove(files.idle())
    files.hold(picture("bird"))


def test_a_disk_that_refuses_leaves_nothing_and_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    files = InputFiles(tmp_path / "file" / "inputs", 1000)
    with pytest.raises(OSError, match="Not a directory"):
        files.hold(CAT)
    assert files.size == 0
    (tmp_path / "file").unlink()
    files.hold(CAT)
    assert files.read(CAT.picture.digest) == CAT.png


def test_a_start_removes_what_no_job_names_and_nobody_elses_files(tmp_path: Path) -> None:
    before = InputFiles(tmp_path, 1000)
    for one in (CAT, DOG):
        before.hold(one)
    (tmp_path / f"{file_of(DOG)}.new").write_bytes(b"half")
    (tmp_path / "holiday.png").write_bytes(b"mine")
    files = InputFiles(tmp_path, 1000)
    assert files.open({CAT.picture.digest}) == 2
    assert names(tmp_path) == {file_of(CAT), "holiday.png"}
    assert files.size == 100
    assert files.idle() == {CAT.picture.digest}
    assert InputFiles(tmp_path / "nowhere", 1000).open(set()) == 0
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_folder_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir(mode=0)
    with pytest.raises(StartupError, match="MINIMON_JOBS_PATH"):
        InputFiles(folder, 1000).open(set())


def test_a_picture_that_is_missing_or_changed_is_said_to_be_lost(tmp_path: Path) -> None:
    files = InputFiles(tmp_path, 1000)
    files.hold(CAT)
    (tmp_path / file_of(CAT)).write_bytes(b"something else")
    for digest in (CAT.picture.digest, DOG.picture.digest):
        with pytest.raises(InputLost):
            files.read(digest)


def test_many_who_hold_read_and_remove_at_once_never_miss_a_file(tmp_path: Path) -> None:
    files = InputFiles(tmp_path, 10_000)
    wrong: list[str] = []
    over = threading.Event()

    def send(one: NormalPicture) -> None:
        for _ in range(60):
            files.hold(one)
            try:
                if files.read(one.picture.digest) != one.png:
                    wrong.append("changed")
            except InputLost:
                wrong.append("lost")
            files.let_go([one.picture.digest])

    def sweep() -> None:
        while not over.is_set():
            files.remove(files.idle())

    sweeper = threading.Thread(target=sweep)
    senders = [threading.Thread(target=send, args=(one,)) for one in (CAT, CAT, DOG, DOG)]
    for thread in (sweeper, *senders):
        thread.start()
    for thread in senders:
        thread.join()
    over.set()
    sweeper.join()
    assert not wrong
    files.remove(files.idle())
    assert (names(tmp_path), files.size) == (set(), 0)
