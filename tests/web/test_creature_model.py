"""Which model `SDXL_TURBO_MODEL` means, and which ones stop the start: they cannot draw what is asked of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import gen_server
from minimon_server.creatures.naming import LocalNames
from minimon_server.errors import StartupError
from minimon_server.jobs.creature_drawing import CreaturePainter, open_creatures, queue_of
from minimon_server.jobs.equipment import find_drawing
from tests.jobs.scene import quiet
from tests.support import settings_for
from tests.web.drawn_scene import environment, models_folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder that holds `small`, `distilled`, which takes 50 steps at most, and `flux`, no SDXL."""
    root = models_folder(tmp_path_factory.mktemp("models"))
    shutil.copytree(root / "small", root / "distilled")
    index = json.loads((root / "small" / "model_index.json").read_bytes())
    distilled = {**index, "scheduler": ["diffusers", "LCMScheduler"]}
    (root / "distilled" / "model_index.json").write_text(json.dumps(distilled))
    settings = json.loads((root / "small" / "scheduler" / "scheduler_config.json").read_bytes())
    settings |= {"_class_name": "LCMScheduler", "original_inference_steps": 50}
    (root / "distilled" / "scheduler" / "scheduler_config.json").write_text(json.dumps(settings))
    shutil.copytree(root / "small", root / "flux")
    (root / "flux" / "model_index.json").write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))
    return root


def told(models: Path, tmp_path: Path, **environ: str) -> str:
    with pytest.raises(StartupError) as caught:
        gen_server.check(settings_for(tmp_path, **environment(models) | environ), {})
    return "\n".join(caught.value.lines)


def painter_of(models: Path, tmp_path: Path, **environ: str) -> CreaturePainter:
    settings = settings_for(tmp_path, **environment(models) | environ)
    drawing = find_drawing(settings, quiet())
    return open_creatures(settings, drawing, queue_of(settings, quiet()), LocalNames(), quiet())[1]


def test_what_is_no_sdxl_and_sizes_that_it_cannot_make_stop_the_start(models: Path, tmp_path: Path) -> None:
    said = told(models, tmp_path, SDXL_TURBO_MODEL="flux")
    assert "SDXL_TURBO_MODEL holds 'flux': the model flux" in said
    assert "its pipeline is not a StableDiffusionXLPipeline" in said
    assert "SDXL_WIDTH" in told(models, tmp_path, SDXL_WIDTH="100")


def test_the_steps_of_the_rarest_are_tried_too(models: Path, tmp_path: Path) -> None:
    asked = {"SDXL_TURBO_MODEL": "distilled"}
    assert painter_of(models, tmp_path, **asked, SDXL_STEPS="4").steps == 4
    said = told(models, tmp_path, **asked, SDXL_STEPS="50")
    assert "SDXL_TURBO_MODEL=distilled cannot draw what SDXL_WIDTH, SDXL_HEIGHT and SDXL_STEPS ask: steps: " in said


def test_a_link_in_the_folder_of_models_is_the_model_of_its_own_name(models: Path, tmp_path: Path) -> None:
    from tests.single_file import narrow_pipeline, save, single_file

    root, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    (root / "checkpoints").mkdir(parents=True)
    elsewhere.mkdir()
    (root / "small").symlink_to(models / "small")
    (root / "another").symlink_to(models / "small")
    save(single_file(narrow_pipeline()), elsewhere / "bare.safetensors")
    (root / "checkpoints" / "linked.safetensors").symlink_to(elsewhere / "bare.safetensors")
    for asked, name in (("small", "small"), ("another", "another"), ("checkpoints/linked.safetensors", "linked")):
        assert painter_of(root, tmp_path, SDXL_TURBO_MODEL=str(root / asked)).model.id == name
