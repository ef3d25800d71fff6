"""The command over a real server: whole models or none, offline afterwards, nobody's files overwritten."""

from __future__ import annotations

from pathlib import Path

import orjson

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from tests.catalog.files import stock_of
from tests.catalog.hub_scene import REPOSITORY, SINGLE, VAE, Place, pipeline
from tests.catalog.hub_server import COMMIT, Fault
from tests.catalog.test_peft_folders import put as save_as_peft
from tests.jobs.scene import quiet


def test_a_pipeline_comes_whole_with_its_vae_and_can_be_drawn_with_offline(here: Place, models: Path) -> None:
    assert here.run("--model", "small") == 0
    folder = here.root / "small"
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.onnx")) + list(here.root.rglob("evil*"))
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")) == [
        "text_encoder/model.fp16.safetensors",
        "text_encoder_2/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    note = orjson.loads((folder / "download.json").read_bytes())
    assert note["source"] == f"{REPOSITORY}@{COMMIT} with {VAE}@{COMMIT}"
    assert note["files"]["vae/config.json"]["size"] == len((models / "small" / "vae" / "config.json").read_bytes())
    assert [name for name in here.files() if name.startswith(".downloads")] == []
    stock = stock_of(here.root)
    assert stock.models()[0].unavailable is None
    engine = SdxlEngine(ModelFolders(here.root, quiet()), "cpu", quiet())
    drawn = engine.draw(DrawRequest("small", "a fox", "", (7,), 64, 64, 1, 1.0), lambda _: True)
    assert len(drawn.pictures[0].pixels) == 64 * 64 * 3
    asked = len(here.server.asked)
    assert here.run("--model", "small", "--verify") == 0
    assert len(here.server.asked) == asked  # verifying asks nobody
    assert "as it was fetched" in here.said()
    assert here.run("--model", "small") == 0
    assert "already there" in here.said()
    assert not [path for path, _ in here.server.asked[asked:] if "/resolve/" in path]


def test_single_files_loras_and_parts_get_their_places(here: Place) -> None:
    assert here.run("--model", "single", "--lora", "neon", "--part", "fix") == 0
    assert here.files() == [
        "checkpoints/single.safetensors",
        "checkpoints/single.safetensors.download.json",
        "loras/neon.safetensors",
        "loras/neon.safetensors.download.json",
        "vae/fix/config.json",
        "vae/fix/diffusion_pytorch_model.safetensors",
        "vae/fix/download.json",
    ]
    said = here.said()
    assert "lora neon: unpinned" in said
    assert "model single: unpinned" not in said
    listed = here.run("--list")
    assert listed == 0
    rows = {row.split()[1]: row for row in here.said().splitlines()}
    assert "on the disk" in rows["single"]
    assert "not there" in rows["small"]
    assert "unpinned" in rows["neon"]
    assert "MIT" in rows["small"]


def test_a_cut_in_the_middle_of_a_pipeline_is_continued_and_no_half_model_is_seen(here: Place) -> None:
    path = f"/{REPOSITORY}/resolve/{COMMIT}/unet/diffusion_pytorch_model.fp16.safetensors"
    here.server.faults[path] = [Fault(after=5000), *[Fault(status=404)] * 2]
    assert here.run("--model", "small") == 1
    assert not (here.root / "small").exists()
    assert stock_of(here.root).models()[0].unavailable
    here.run("--list")
    assert "in part" in here.said()
    before = len(here.server.asked)
    here.server.faults.clear()
    assert here.run("--model", "small") == 0
    again = [one for one, _ in here.server.asked[before:] if "/resolve/" in one]
    assert f"/{REPOSITORY}/resolve/{COMMIT}/model_index.json" not in again  # what is there is not fetched twice
    assert here.server.ranges(path)[-1] == "bytes=5000-"
    assert stock_of(here.root).models()[0].unavailable is None


def test_a_new_revision_takes_the_place_of_the_old_whole(here: Place, models: Path) -> None:
    assert here.run("--model", "small") == 0
    here.server.commit = "d" * 40
    here.server.put(
        REPOSITORY, pipeline(models) | {"scheduler/scheduler_config.json": b'{"_class_name": "LCMScheduler"}'}
    )
    assert here.run("--model", "small") == 0
    assert "another revision, or damaged" in here.said()
    assert "LCM" in (here.root / "small" / "scheduler" / "scheduler_config.json").read_text()
    assert [name for name in here.files() if name.startswith(".downloads")] == []


def test_damage_is_found_by_verify_and_mended_by_fetching(here: Place) -> None:
    assert here.run("--model", "single") == 0
    path = here.root / "checkpoints" / "single.safetensors"
    path.write_bytes(SINGLE[:-1] + b"!")
    assert here.run("--verify") == 1
    assert "single.safetensors is not what was fetched" in here.said()
    path.write_bytes(SINGLE[:-1])
    assert here.run("--model", "single") == 0
    assert path.read_bytes() == SINGLE


def test_what_somebody_put_there_is_never_overwritten(here: Place) -> None:
    (here.root / "checkpoints").mkdir()
    path = here.root / "checkpoints" / "single.safetensors"
    path.write_bytes(b"mine")
    assert here.run("--model", "single") == 1
    assert "is there and is another file" in here.said()
    assert path.read_bytes() == b"mine"
    path.write_bytes(SINGLE)
    assert here.run("--model", "single") == 0
    assert [one for one, _ in here.server.asked] == []
    (here.root / "small").mkdir()
    assert here.run("--model", "small") == 0
    assert "there, not by this command" in here.said()
    assert list((here.root / "small").iterdir()) == []


def test_everything_is_tried_whatever_becomes_of_the_first(here: Place) -> None:
    here.server.trees.clear()
    assert here.run("--all") == 1
    said = here.said()
    assert "model small: not fetched" in said
    assert "lora nowhere: no source is known; put it at models/loras/nowhere.safetensors" in said
    assert (here.root / "loras" / "neon.safetensors").exists()
    assert here.run("--lora", "nowhere") == 1


def test_a_lora_that_lies_as_a_folder_of_peft_is_there(here: Place) -> None:
    for name in ("nowhere", "neon"):
        save_as_peft(here.root / "loras" / name)
    assert here.run("--lora", "nowhere", "--lora", "neon") == 0
    said = here.said()
    assert "lora nowhere: there\n" in said
    assert "lora neon: there, not by this command: the folder models/loras/neon\n" in said
    assert here.server.asked == []  # the file would be taken in its place
    assert here.run("--list") == 0
    rows = {row.split()[1]: row for row in here.said().splitlines()}
    assert "on the disk" in rows["nowhere"]
    assert "on the disk" in rows["neon"]
