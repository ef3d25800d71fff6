"""The image store: whole files or none, names that carry the attempt, orphans, and files that somebody meddled with."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from minimon_server.engines.messages import DrawnPicture
from minimon_server.errors import StartupError
from minimon_server.jobs.job import Fence, Job, State
from minimon_server.jobs.journal import Journal
from minimon_server.jobs.pictures import LONGEST_TEXT, Damaged, PictureStore
from minimon_server.jobs.recovery import sweep_orphans
from tests.jobs.scene import REQUEST, job_id, quiet
from tests.support import small_png

JOB = Job(job_id(1), 1, REQUEST, "ann", "player", 0.0, Fence("3"), state=State.PROGRESS, attempt=2)


def drawn(shade: int, **metadata: object) -> DrawnPicture:
    return DrawnPicture(bytes([shade]) * 48, shade, 4, 4, metadata)


def packed(picture: DrawnPicture, _kind: str, _quality: int | None) -> bytes:
    return small_png(picture.pixels[0])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_is_read_back_by_what_the_record_says(tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "deep" / "outputs", packed)
    assert store.unnamed([]) == {}
    store.prepare()
    (file,) = store.write(JOB, [drawn(9, model="tiny", prompt="x" * (LONGEST_TEXT + 1))])
    assert (file.name, file.seed, file.size) == (f"{JOB.id}.2.png", 9, len(small_png(9)))
    assert file.digest == sha256(small_png(9)).hexdigest()
    assert file.metadata == {"model": "tiny"}
    assert store.read(file) == small_png(9)
    assert names(tmp_path / "deep" / "outputs") == [file.name]


def test_a_later_attempt_writes_beside_an_earlier_one(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, packed)
    (early,) = store.write(replace(JOB, attempt=1), [drawn(1)])
    (late,) = store.write(JOB, [drawn(2)])
    assert store.read(early) != store.read(late)


def test_what_is_damaged_or_missing_is_never_served(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, packed)
    (file,) = store.write(JOB, [drawn(1)])
    (tmp_path / file.name).write_bytes(small_png(2))
    with pytest.raises(Damaged):
        store.read(file)
    store.remove([file.name, "never.png"])
    with pytest.raises(Damaged):
        store.read(file)


def test_when_one_of_several_cannot_be_written_none_is_left(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, packed)
    (tmp_path / f"{JOB.id}.2.2.png.part").mkdir()
    with pytest.raises(OSError, match="directory"):
        store.write(JOB, [drawn(1), drawn(2), drawn(3)])
    assert names(tmp_path) == [f"{JOB.id}.2.2.png.part"]


def test_orphans_are_what_we_wrote_for_jobs_of_this_journal_and_no_record_names(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, packed)
    files = store.write(JOB, [drawn(1), drawn(2)])
    done, past = replace(JOB, state=State.SUCCESS, pictures=files), replace(JOB, id=job_id(2), number=2)
    orphans = [f"{JOB.id}.1.png", f"{past.id}.1.2.png.part"]
    foreign = [f"{job_id(3)}.1.png", "holiday.png", f"{JOB.id}.png", "README"]
    for name in (*orphans, *foreign):
        (tmp_path / name).write_bytes(b"something")
    assert set(store.unnamed([done])) == {*orphans, foreign[0]}
    journal = Journal(None)
    sweep_orphans(journal, {}, store, quiet())
    assert len(names(tmp_path)) == 8
    journal.remove([past], 10)
    sweep_orphans(journal, {JOB.id: done}, store, quiet())
    assert names(tmp_path) == sorted([*(file.name for file in files), *foreign])
    journal.close()


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="MINIMON_OUTPUT_DIR"):
        PictureStore(tmp_path / "file", packed).prepare()


def test_when_one_of_several_cannot_be_packed_none_is_left(tmp_path: Path) -> None:
    def packed_but_one(picture: DrawnPicture, kind: str, quality: int | None) -> bytes:
        if picture.seed == 2:
            raise ValueError("no such colour")
        return packed(picture, kind, quality)

    with pytest.raises(ValueError, match="colour"):
        PictureStore(tmp_path, packed_but_one).write(JOB, [drawn(1), drawn(2), drawn(3)])
    assert names(tmp_path) == []
