"""Models in one file: what can be drawn with is told with its defaults, and anything else as what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimon_server.catalog import words
from tests.catalog.files import ATTENTION, SD15, SDXL, VAE, Shapes, stock_of, write
from tests.catalog.test_kinds import CROSS, lora
from tests.catalog.test_stock import put, put_vae

WITHOUT_VAE = {name: shape for name, shape in SDXL.items() if not name.startswith("first_stage_model.")}
UNET = "model.diffusion_model."


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (SD15, words.other_base("sd15").en),
        ({**SD15, ATTENTION: (640, 1024)}, words.other_base("sd21").en),
        ({name: (shape[0], 1280) if "attn2" in name else shape for name, shape in SDXL.items()}, "sdxl-refiner model"),
        ({**SDXL, f"{UNET}input_blocks.0.0.weight": (320, 9, 3, 3)}, "is a sdxl-inpainting model"),
        ({f"{UNET}joint_blocks.0.x.weight": (9, 3)}, "is a sd3 model"),
        ({f"{UNET}double_blocks.0.img_attn.qkv.weight": (9, 3)}, "is a flux model"),
        (lora(CROSS, 2048), "it is a LoRA: put it into models/loras/"),
        ({VAE: (512, 4, 3, 3)}, "it is a VAE alone"),
        ({"encoder.down.0.block.0.conv1.weight": (128, 128, 3, 3)}, "it is a VAE alone"),
        ({"input_blocks.0.0.weight": (320, 4, 3, 3)}, "it is a UNet alone"),
        ({name: shape for name, shape in SDXL.items() if "embedders.1" not in name}, "no text encoder OpenCLIP-bigG"),
        (
            {name: shape for name, shape in SDXL.items() if "input_blocks.8.1.transformer_blocks.9" not in name},
            "such as SSD-1B",
        ),
        ({**SDXL, "edm_vpred.sigma_max": ()}, "it is CosXL"),
        ({**SDXL, "scaled_fp8": (0,)}, "its weights are packed"),
        (WITHOUT_VAE, words.no_vae("a").en),
    ],
)
def test_a_file_that_cannot_be_drawn_with_is_told_as_what_it_is(tmp_path: Path, shapes: Shapes, said: str) -> None:
    write(tmp_path / "checkpoints" / "a.safetensors", shapes)
    (model,) = stock_of(tmp_path).models()
    assert model.unavailable
    assert said in model.unavailable.en
    assert model.unavailable.fr != model.unavailable.en


ENTRY = """schema = 1
[[model]]
id = "a"
name = "A"
kind = "checkpoint"
vae = "fix"
[[part]]
id = "fix"
name = "Fix"
kind = "vae"
[part.source]
url = ""
"""


def test_the_vae_of_an_entry_is_needed_and_serves_a_file_without_one(tmp_path: Path) -> None:
    put(tmp_path, ENTRY)
    write(tmp_path / "checkpoints" / "a.safetensors", SDXL)
    stock = stock_of(tmp_path)
    (model,) = stock.models()
    assert model.unavailable == words.missing_vae("fix")
    assert model.how
    assert model.how.en.endswith("put the folder at models/vae/fix")
    put(tmp_path, ENTRY.replace('url = ""', 'hub = "a/b"\nfiles = ["config.json"]'))
    (model,) = stock.models()
    assert model.how
    assert model.how.en == "python download_models.py --part fix"
    put_vae(tmp_path, "vae/fix")
    assert [model.unavailable for model in stock.models()] == [None]
    write(tmp_path / "checkpoints" / "a.safetensors", WITHOUT_VAE)
    assert [model.unavailable for model in stock.models()] == [None]
    put(tmp_path, ENTRY.replace('vae = "fix"\n', ""))
    assert [model.unavailable for model in stock.models()] == [words.no_vae("a")]
    put_vae(tmp_path, "checkpoints/a/vae")
    assert [model.unavailable for model in stock.models()] == [None]


def test_a_folder_beside_the_file_says_what_its_header_cannot(tmp_path: Path) -> None:
    write(tmp_path / "checkpoints" / "a.safetensors", {**SDXL, "v_pred": (0,), "ztsnr": (0,)})
    stock = stock_of(tmp_path)
    (model,) = stock.models()
    assert (model.prediction, model.guidance_rescale, model.steps) == ("v", 0.7, 30)
    assert model.schedulers is not None
    assert "heun" not in model.schedulers  # which knows no zero terminal SNR
    beside = tmp_path / "checkpoints" / "a"
    (beside / "scheduler").mkdir(parents=True)
    scheduler = beside / "scheduler" / "scheduler_config.json"
    scheduler.write_text('{"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}')
    (beside / "minimon.json").write_text('{"name": "Fast one", "guidance_scale": 1.5}')
    (model,) = stock.models()
    assert (model.name, model.steps, model.guidance_scale, model.guidance_rescale) == ("Fast one", 1, 1.5, 0.0)
    scheduler.write_text("{")
    (model,) = stock.models()
    assert model.unavailable == words.unusable("scheduler/scheduler_config.json is not JSON")
