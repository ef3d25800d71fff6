"""What is somebody's own in what was fetched outlives the next fetch; a model is there at every moment."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from minimon_server.catalog import replacing
from minimon_server.catalog.bringing import KEPT, WORKSHOP
from tests.catalog.hub_scene import REPOSITORY, SINGLE, Place, pipeline

EDITED = b'{"_class_name": "LCMScheduler", "mine": true}'
SCHEDULER = "scheduler/scheduler_config.json"


def kept_as(here: Place, item: str, data: bytes, name: str) -> Path:
    return here.root / WORKSHOP / KEPT / item / hashlib.sha256(data).hexdigest()[:12] / name


def another_revision(here: Place, models: Path, more: dict[str, bytes] | None = None) -> None:
    here.server.commit = "d" * 40
    here.server.put(REPOSITORY, pipeline(models) | (more or {}))


@pytest.mark.parametrize("why", ["another revision", "damage"])
def test_what_people_added_stays_and_what_they_edited_is_kept(here: Place, models: Path, why: str) -> None:
    assert here.run("--model", "small") == 0
    folder = here.root / "small"
    (folder / SCHEDULER).write_bytes(EDITED)
    (folder / "minimon.json").write_bytes(b'{"name": "Mine"}')
    (folder / "notes" / "deep").mkdir(parents=True)
    (folder / "notes" / "deep" / "why.md").write_bytes(b"because")
    (folder / "notes" / "link").symlink_to("nowhere")
    if why == "another revision":
        another_revision(here, models)
    assert here.run("--all") == 0
    said = here.said()
    assert (folder / "minimon.json").read_bytes() == b'{"name": "Mine"}'
    assert (folder / "notes" / "deep" / "why.md").read_bytes() == b"because"
    assert (folder / "notes" / "link").is_symlink()
    assert "model small: stays, not being of this command: minimon.json, notes/link, notes/deep/why.md" in said
    place = kept_as(here, "model-small", EDITED, SCHEDULER)
    assert place.read_bytes() == EDITED
    assert f"model small: {SCHEDULER} is not what was fetched; it is kept as {place}" in said
    assert (folder / SCHEDULER).read_bytes() == (models / "small" / SCHEDULER).read_bytes()
    assert [path.name for path in (here.root / WORKSHOP).iterdir() if path.is_dir()] == [KEPT]
    assert here.run("--model", "small") == 0
    assert "already there" in here.said()


def test_what_has_no_place_in_the_new_revision_is_kept(here: Place, models: Path, tmp_path: Path) -> None:
    assert here.run("--model", "small") == 0
    folder, elsewhere = here.root / "small", tmp_path / "elsewhere"
    (folder / "tokenizer" / "special_tokens_map.json").write_bytes(b'{"mine": 1}')
    (folder / "vae").replace(elsewhere)
    (folder / "vae").symlink_to(elsewhere)  # moved to another disk
    another_revision(here, models, {"tokenizer/special_tokens_map.json": b"{}"})
    assert here.run("--model", "small") == 0
    kept = kept_as(here, "model-small", b'{"mine": 1}', "tokenizer/special_tokens_map.json")
    assert kept.read_bytes() == b'{"mine": 1}'
    assert (folder / "tokenizer" / "special_tokens_map.json").read_bytes() == b"{}"
    assert kept_as(here, "model-small", bytes(elsewhere), "vae").readlink() == elsewhere
    assert (elsewhere / "config.json").is_file()
    assert not (folder / "vae").is_symlink()


def test_a_folder_that_is_a_link_is_left_alone(here: Place, models: Path, tmp_path: Path) -> None:
    assert here.run("--model", "small") == 0
    folder, elsewhere = here.root / "small", tmp_path / "elsewhere"
    folder.replace(elsewhere)
    folder.symlink_to(elsewhere)
    assert here.run("--model", "small") == 0
    another_revision(here, models)
    assert here.run("--model", "small") == 1
    assert "small is a link to another revision, or to a damaged one; move the link away first" in here.said()
    assert folder.readlink() == elsewhere


def test_a_single_file_that_became_another_is_kept(here: Place) -> None:
    assert here.run("--model", "single") == 0
    path = here.root / "checkpoints" / "single.safetensors"
    path.write_bytes(b"mine")
    assert here.run("--model", "single") == 0
    assert path.read_bytes() == SINGLE
    place = kept_as(here, "model-single", b"mine", path.name)
    assert place.read_bytes() == b"mine"
    assert f"it is kept as {place}" in here.said()


def test_two_folders_change_places_at_once(tmp_path: Path) -> None:
    new, target, between = (tmp_path / name for name in ("new", "target", "between"))
    for path in (new, target):
        path.mkdir()
        (path / "file").write_text(path.name)
    if not replacing.take_place(new, target, between):
        pytest.skip("this system cannot exchange two folders")
    assert (target / "file").read_text() == "new"
    assert (new / "file").read_text() == "target"


def test_where_names_cannot_be_exchanged_it_is_done_in_steps(
    here: Place, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "_exchange", lambda one, other: False)
    assert here.run("--model", "small") == 0
    (here.root / "small" / "minimon.json").write_bytes(b"{}")
    another_revision(here, models)
    assert here.run("--model", "small") == 0
    assert "it was not there for a moment" in here.said()
    assert (here.root / "small" / "minimon.json").read_bytes() == b"{}"
    assert [name for name in here.files() if name.startswith(WORKSHOP)] == []


def test_an_end_between_the_steps_is_mended(here: Place, models: Path) -> None:
    assert here.run("--model", "small") == 0
    folder, former = here.root / "small", here.root / WORKSHOP / "model-small@former"
    (folder / "minimon.json").write_bytes(b"{}")
    folder.replace(former)
    asked = len(here.server.ranges(f"/{REPOSITORY}/resolve/{'a' * 40}/model_index.json"))
    assert here.run("--model", "small") == 0
    assert "put back what an interrupted replacement had taken away" in here.said()
    assert (folder / "minimon.json").read_bytes() == b"{}"
    assert len(here.server.ranges(f"/{REPOSITORY}/resolve/{'a' * 40}/model_index.json")) == asked
    former.mkdir()
    (former / "old").write_bytes(b"saved before")
    assert here.run("--model", "small") == 0
    assert not former.exists()
