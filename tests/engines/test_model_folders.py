"""Which folders count as models, with what defaults; every other one is told with its reason, and none runs code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from minimon_server.engines.model_folders import BrokenModel, ModelFolders, fingerprint_of
from minimon_server.engines.model_info import ModelInfo
from minimon_server.engines.weights_digest import SAMPLES
from minimon_server.logs import Logger


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    """Return a models/ folder with a copy of `small` that a test may break."""
    shutil.copytree(models / "small", tmp_path / "models" / "small")
    return tmp_path / "models"


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_bytes()) | values))


FEW = (("lcm", 50), ("tcd", 50))  # the most steps of schedulers that have a most
LATENTS = (4, 4)  # channels, and pixels a side to one latent, of the small pipeline


def test_the_models_of_a_folder_with_their_defaults(models: Path, log: Logger) -> None:
    (models / "empty").mkdir(exist_ok=True)
    folders = ModelFolders(models, log)
    assert [info.id for info in folders.infos()] == ["other", "small"]
    assert folders.infos()[1] == ModelInfo(
        "small", "small", 64, 64, 30, 5.0, clip_layers=2, most_steps=FEW, latents=LATENTS
    )
    assert folders.broken() == {}


def test_sdxl_base_is_30_steps_at_1024(own: Path, log: Logger) -> None:
    change(own / "small" / "unet" / "config.json", sample_size=128)
    change(own / "small" / "vae" / "config.json", block_out_channels=[128, 256, 512, 512])
    (info,) = ModelFolders(own, log).infos()
    assert (info.width, info.height, info.steps) == (1024, 1024, 30)


def test_a_folder_may_say_its_own_defaults(own: Path, log: Logger) -> None:
    folders = ModelFolders(own, log)
    assert folders.infos()[0].steps == 30
    said = {"name": "Small one", "steps": 8, "guidance_scale": 3}
    (own / "small" / "minimon.json").write_text(json.dumps(said))
    (info,) = folders.infos()
    assert info == ModelInfo("small", "Small one", 64, 64, 8, 3.0, clip_layers=2, most_steps=FEW, latents=LATENTS)
    (own / "small" / "minimon.json").write_text('{"steps": 4}')
    (info,) = ModelFolders(own, log).infos()
    assert (info.name, info.steps, info.guidance_scale) == ("small", 4, 5.0)
    (own / "small" / "minimon.json").write_text('{"native_size": 128, "licence": "MIT"}')
    (info,) = ModelFolders(own, log).infos()
    assert (info.width, info.height, info.native_size, info.licence) == (128, 128, 128, "MIT")


def test_a_native_size_is_a_whole_number_of_latents(own: Path, log: Logger) -> None:
    change(own / "small" / "vae" / "config.json", block_out_channels=[16, 32, 32, 32, 32])
    (own / "small" / "minimon.json").write_text('{"native_size": 136}')
    folders = ModelFolders(own, log)
    assert folders.broken() == {"small": "native_size in minimon.json is no multiple of 16, the pixels of one latent"}
    (own / "small" / "minimon.json").write_text('{"native_size": 144}')
    assert [info.native_size for info in ModelFolders(own, log).infos()] == [144]


@pytest.mark.parametrize(
    "said",
    [
        '{"steps": 0}', '{"steps": 151}', '{"steps": true}', '{"steps": 2.5}', '{"guidance_scale": -1}',
        '{"guidance_scale": "3"}', '{"guidance_scale": NaN}', '{"name": ""}', '{"name": "a\\nb"}', '{"name": 7}',
        '{"native_size": 100}', '{"native_size": 56}', '{"native_size": 2056}', '{"native_size": 128.0}',
        '{"native_size": true}', '{"native_size": "128"}', '{"licence": ""}', '{"licence": ["MIT"]}',
        '{"speed": 3}', "[]", "{", json.dumps({"name": "x" * 81}),
    ],
)  # fmt: skip
def test_wrong_notes_are_told_and_the_model_is_not_used(own: Path, log: Logger, said: str) -> None:
    (own / "small" / "minimon.json").write_text(said)
    folders = ModelFolders(own, log)
    assert folders.infos() == []
    assert "minimon.json" in folders.broken()["small"]


@pytest.mark.parametrize(
    ("scheduler", "pace"),
    [
        ({"_class_name": "LCMScheduler"}, (4, 1.0)),
        ({"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}, (1, 0.0)),
        ({"_class_name": "EulerAncestralDiscreteScheduler"}, (30, 5.0)),
    ],
)
def test_a_distilled_model_is_known_by_its_scheduler(
    own: Path, log: Logger, scheduler: dict[str, str], pace: tuple[int, float]
) -> None:
    change(own / "small" / "scheduler" / "scheduler_config.json", **scheduler)
    (info,) = ModelFolders(own, log).infos()
    assert (info.steps, info.guidance_scale) == pace


def pickled(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")


def no_weights(folder: Path) -> None:
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()


def no_vocabulary(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer_2")


def not_json(folder: Path) -> None:
    (folder / "unet/config.json").write_text("{")


def a_list(folder: Path) -> None:
    (folder / "unet/config.json").write_text("[]")


def no_scheduler(folder: Path) -> None:
    (folder / "scheduler/scheduler_config.json").unlink()


def no_blocks(folder: Path) -> None:
    change(folder / "vae/config.json", block_out_channels=None)


def other_pipeline(folder: Path) -> None:
    change(folder / "model_index.json", _class_name="StableDiffusionPipeline")


def own_program(folder: Path) -> None:
    (folder / "unet/mine.py").write_text("raise SystemExit('run')")
    change(folder / "model_index.json", unet=["mine", "MyUNet"])


def refiner(folder: Path) -> None:
    change(folder / "model_index.json", text_encoder=[None, None])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (pickled, "unet/ holds its weights as a pickle"),
        (no_weights, "vae/diffusion_pytorch_model.safetensors is missing"),
        (no_vocabulary, "tokenizer_2/ has no vocabulary"),
        (not_json, "unet/config.json is not JSON"),
        (a_list, "unet/config.json is not a JSON object"),
        (no_scheduler, "scheduler/scheduler_config.json cannot be read (no such file or directory)"),
        (no_blocks, "its sizes cannot be read"),
        (other_pipeline, "its pipeline is not a StableDiffusionXLPipeline"),
        (own_program, "its unet is not a UNet2DConditionModel"),
        (refiner, "its text_encoder is not a CLIPTextModel"),
    ],
)
def test_a_broken_folder_is_told_once_and_mended_at_once(
    own: Path, log: Logger, spoil: Callable[[Path], None], reason: str
) -> None:
    folders = ModelFolders(own, log)
    assert folders.find("small").path == own / "small"
    shutil.copytree(own / "small", own.parent / "whole")
    spoil(own / "small")
    assert folders.infos() == []
    assert reason in folders.broken()["small"]
    with pytest.raises(BrokenModel) as caught:
        folders.find("small")
    assert reason in str(caught.value)
    assert str(own) not in str(caught.value)
    shutil.rmtree(own / "small")
    shutil.copytree(own.parent / "whole", own / "small")
    assert [info.id for info in folders.infos()] == ["small"]


def test_a_reason_stands_in_the_log_once(own: Path, log: Logger, logged: Callable[[], list[dict[str, Any]]]) -> None:
    pickled(own / "small")
    folders = ModelFolders(own, log)
    for _ in range(3):
        assert folders.infos() == []
    (line,) = logged()
    assert (line["event"], line["level"], line["model"]) == ("model cannot be used", "warning", "small")


def test_a_folder_that_cannot_be_listed_is_told_once(
    tmp_path: Path, log: Logger, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    (tmp_path / "models").write_text("a file")
    folders = ModelFolders(tmp_path / "models", log)
    assert folders.infos() == folders.infos() == []
    assert [line["reason"] for line in logged()] == ["not a directory"]


def test_a_folder_that_has_not_changed_is_one_object_for_every_thread(models: Path, log: Logger) -> None:
    folders = ModelFolders(models, log)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: folders.find("small"), range(64)))
    assert all(one is found[0] for one in found)


def test_no_folder_is_no_models_and_no_name_is_a_path(models: Path, tmp_path: Path, log: Logger) -> None:
    assert ModelFolders(tmp_path / "nowhere", log).infos() == []
    for name in ("../models/small", str(models / "small"), "", "."):
        with pytest.raises(BrokenModel, match="There is no model"):
            ModelFolders(models, log).find(name)


def test_a_fingerprint_is_of_all_that_draws_and_of_nothing_else(own: Path, models: Path, log: Logger) -> None:
    folders = ModelFolders(own, log)
    before = folders.fingerprint("small")
    assert before is not None
    assert before == ModelFolders(models, log).fingerprint("small")
    assert before != ModelFolders(models, log).fingerprint("other")
    assert folders.fingerprint("never") is None
    (own / "small" / "README.md").write_text("A red cat draws best.\n")
    assert folders.fingerprint("small") == before
    for name in (
        "scheduler/scheduler_config.json",
        "vae/config.json",
        "tokenizer_2/tokenizer.json",
        "model_index.json",
    ):
        settings = own / "small" / name
        said = settings.read_bytes()
        settings.write_bytes(said + b"\n")
        assert folders.fingerprint("small") != before
        settings.write_bytes(said)
        assert folders.fingerprint("small") == before
    file = own / "small" / "unet" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    half = len(whole) // 2 // SAMPLES * SAMPLES
    file.write_bytes(whole[:half] + bytes(byte ^ 1 for byte in whole[half:]))
    assert folders.fingerprint("small") != before
    file.write_bytes(whole)
    assert folders.fingerprint("small") == before


def test_weights_that_cannot_be_read_have_no_fingerprint(
    own: Path, log: Logger, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    folders = ModelFolders(own, log)
    assert folders.fingerprint("small")
    (own / "small" / "vae" / "more.safetensors").mkdir()
    assert folders.fingerprint("small") is None
    assert logged()[-1]["reason"] == "its weights cannot be read (is a directory)"
    with pytest.raises(BrokenModel, match=r"its weights cannot be read \(is a directory\)"):
        fingerprint_of(own / "small")
