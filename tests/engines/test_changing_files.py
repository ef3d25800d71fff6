"""Files of a model that change while a job reads them or draws: no mixture, and no hash of what did not draw."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pytest

from minimon_server.engines.checkpoint_loading import load_model
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, EngineFault, Phase, Progress
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, same, state_of
from tests.engines.checkpoint_scene import VAE, models_of, put, two_models, with_parts_of
from tests.engines.exhaustion import pipeline
from tests.single_file import save
from tests.small_pipeline import build_kin

Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]
PATIENCE = 20.0
ROOM = Budgets(host=2**30)


@pytest.fixture
def root(models: Path, tmp_path: Path) -> Path:
    """Return a models/ folder that a test may change: `kin` has all but the UNet of `small`."""
    root = Path(shutil.copytree(models, tmp_path / "own"))
    build_kin(root / "small", root / "kin", 9)
    return root


def give(source: Path, target: Path) -> None:
    """Rename a copy of the weights in one folder over those in another."""
    for file in source.rglob("*.safetensors"):
        shutil.copyfile(file, target / "new")
        (target / "new").replace(target / file.relative_to(source))


def when(phase: Phase, act: Callable[[], None], times: int = 1) -> Callable[[Progress], bool]:
    """Return a report that acts when a phase is first told of, at so many beginnings."""
    left = [times]

    def report(progress: Progress) -> bool:
        if progress.phase == phase and (phase != "loading" or not progress.current) and left[0]:
            left[0] -= 1
            act()
        return True

    return report


def fresh(root: Path, request: DrawRequest, quiet: Logger) -> tuple[bytes, object, object]:
    """Return pixels, hashes and fingerprint of an engine that has read nothing yet."""
    engine = SdxlEngine(models_of(root, quiet), "cpu", quiet)
    found = told_by(drawn(engine, request))
    engine.close()
    return found


def told_by(picture: Any) -> tuple[bytes, object, object]:
    return picture.pixels, picture.metadata["hashes"], picture.metadata["model_fingerprint"]


def test_a_hash_is_not_that_of_a_file_that_did_not_draw(
    root: Path, request_for: Asking, log: Logger, logged: Logged, quiet: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = threading.Event()

    def slow(file: Any, kind: str) -> Any:
        assert replaced.wait(PATIENCE)  # as a disk that takes its time over gigabytes
        return file_digest(file, kind)

    def replace() -> None:
        give(root / "other" / "unet", root / "small" / "unet")
        replaced.set()

    monkeypatch.setattr("minimon_server.engines.file_hashes.file_digest", slow)
    replaced.set()
    before = fresh(root, request_for(), quiet)
    replaced.clear()
    engine = SdxlEngine(ModelFolders(root, log), "cpu", log)
    (picture,) = engine.draw(request_for(), when("drawing", replace)).pictures
    assert (picture.pixels, picture.metadata["model_fingerprint"]) == (before[0], before[2])
    assert picture.metadata["hashes"]["model"] is None
    vae = root / "small" / "vae" / "diffusion_pytorch_model.safetensors"
    assert picture.metadata["hashes"]["vae"] == sha256(vae.read_bytes()).hexdigest()
    (line,) = [line for line in logged() if line["event"] == "file has no hash"]
    assert (line["file"], line["reason"]) == ("diffusion_pytorch_model.safetensors", "it changed after it was loaded")
    assert told_by(drawn(engine, request_for())) == fresh(root, request_for(), quiet) != before
    engine.close()


def test_a_folder_that_changes_while_it_is_loaded_is_loaded_again(
    root: Path, request_for: Asking, log: Logger, logged: Logged, tally: MemoryTally, quiet: Logger
) -> None:
    """`kin` finds three networks of `small` in memory, and is another model before its UNet is read."""
    engine = SdxlEngine(ModelFolders(root, log), "cpu", log, tally, budgets=ROOM)
    drawn(engine, request_for())
    asked = request_for(model="kin")
    (picture,) = engine.draw(asked, when("loading", lambda: give(root / "other", root / "kin"))).pictures
    assert told_by(picture) == fresh(root, asked, quiet)
    assert [line["event"] for line in logged() if line["level"] == "warning"] == [
        "weights changed on the disk: loaded anew"
    ]
    assert [one.model for one in tally.resident] == ["small", "kin"]
    assert tally.held["device"] == sum(one.bytes for one in tally.resident)  # nothing is left of the first try
    engine.close()


def test_a_single_file_that_changes_before_it_is_read_is_looked_at_again(
    tmp_path: Path, request_for: Asking, quiet: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tuned` had the VAE of `base`, which is in memory; what is read is another file, with another VAE."""
    first, second = two_models()
    put(tmp_path, "base", first)
    path = put(tmp_path, "tuned", with_parts_of(second, first, VAE))
    engine = SdxlEngine(models_of(tmp_path, quiet), "cpu", quiet, budgets=ROOM)
    drawn(engine, request_for(model="base", steps=1))

    def meanwhile(*asked: Any) -> Any:
        monkeypatch.undo()
        save(second, path.with_suffix(".new")).replace(path)
        return load_model(*asked)

    monkeypatch.setattr("minimon_server.engines.resident_models.load_model", meanwhile)
    asked = request_for(model="tuned", steps=1)
    assert told_by(drawn(engine, asked)) == fresh(tmp_path, asked, quiet)
    alone = SdxlEngine(models_of(tmp_path, quiet), "cpu", quiet)
    drawn(alone, asked)
    assert same(state_of(pipeline(engine)), state_of(pipeline(alone)))


def test_files_that_change_at_every_try_draw_nothing(
    root: Path, request_for: Asking, quiet: Logger, tally: MemoryTally
) -> None:
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet, tally, budgets=ROOM)
    right = fresh(root, request_for(), quiet)
    vae = root / "small" / "vae"
    with pytest.raises(EngineFault, match="change while they are read") as failed:
        engine.draw(request_for(), when("loading", lambda: give(vae, vae), times=2))
    assert failed.value.retry
    assert (tally.resident, tally.held["device"], engine.loaded) == ((), 0, None)
    assert told_by(drawn(engine, request_for())) == right
