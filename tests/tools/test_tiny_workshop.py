"""The whole workshop from nothing to a picture, by a recipe that takes seconds; then the server's own engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders, read_model
from minimon_server.engines.sdxl import SdxlEngine
from tests.engines.adapter_scene import nothing, stack_over, wanted
from tests.jobs.scene import quiet
from tests.small_pipeline import plainly_loaded
from tests.tools.small_recipe import SMALL
from tools.tiny import stages
from tools.tiny.__main__ import main
from tools.tiny.adapters import FOLDER as ADAPTERS
from tools.tiny.adapters import LESSONS, AdapterTask
from tools.tiny.assemble import GUIDANCE, RESCALE, STEPS, build
from tools.tiny.captions import Caption
from tools.tiny.card import card
from tools.tiny.enlarging import enlarged
from tools.tiny.evaluate import Settings, evaluate, shares_shown, unseen_captions
from tools.tiny.finishing import NotYet, finished_autoencoder
from tools.tiny.painter import FOLDER
from tools.tiny.sheets import prompt_sheet, tile
from tools.tiny.training import load_checkpoint
from tools.tiny.unseen import unseen_loss

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stages.Shop]:
    """Return a shop in which everything up to the assembled model is done."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    shop = stages.Shop(SMALL, folder / "work", folder / "models" / "minimon-tiny", "cpu", 1)
    for name in ("draw", "autoencoder", "encode", "read", "critic", "train", "classifier", "enlarge", "assemble"):
        assert stages.RUN[name](shop), name
    yield shop
    torch.set_num_threads(threads)


@pytest.fixture
def engine(shop: stages.Shop) -> Iterator[SdxlEngine]:
    """Return the server's own engine over the folder that was written."""
    engine = SdxlEngine(ModelFolders(shop.output.parent, quiet()), "cpu", quiet())
    yield engine
    engine.close()


def ask(prompt: str, seed: int = 3) -> DrawRequest:
    return DrawRequest("minimon-tiny", prompt, "", (seed,), SMALL.drawn, SMALL.drawn, 2, 3.0)


@pytest.mark.parametrize("prompt", ["a red fire minimon with horns", "", "🐉🔥 喵", "zzz " * 2000])
def test_the_servers_engine_draws_any_prompt(engine: SdxlEngine, prompt: str) -> None:
    first, again = (engine.draw(ask(prompt), lambda _: True).pictures[0] for _ in range(2))
    assert first.pixels == again.pixels
    assert (first.width, first.height) == (SMALL.drawn, SMALL.drawn)


def test_the_folder_holds_halves_and_nothing_unknown(shop: stages.Shop) -> None:
    files = {str(file.relative_to(shop.output)) for file in shop.output.rglob("*") if file.is_file()}
    weights = {name for name in files if name.endswith(".safetensors")}
    assert weights == {
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    assert not [name for name in files if name.endswith((".bin", ".pt", ".ckpt", ".py"))]
    info = read_model(shop.output).info
    assert (info.width, info.height) == (SMALL.drawn, SMALL.drawn)
    assert (info.steps, info.guidance_scale, info.guidance_rescale) == (STEPS, GUIDANCE, RESCALE)
    assert (info.native_size, info.licence, info.schedulers is not None) == (SMALL.drawn, "MIT", True)
    index = json.loads((shop.output / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionXLPipeline"


def test_the_larger_autoencoder_starts_as_the_finished_one(shop: stages.Shop) -> None:
    finished = finished_autoencoder(SMALL, shop.work)
    larger = enlarged(SMALL, finished)
    known, own = finished.state_dict(), larger.state_dict()
    pairs = {
        "decoder.up_blocks.1.resnets.0.conv1.weight": "decoder.up_blocks.1.resnets.0.conv1.weight",
        "encoder.down_blocks.2.resnets.0.conv1.weight": "encoder.down_blocks.1.resnets.0.conv1.weight",
        "quant_conv.weight": "quant_conv.weight",
    }
    for name, inner in pairs.items():
        assert torch.equal(own[name], known[inner]), name
    assert larger.decode(torch.zeros(1, 4, 16, 16)).sample.shape == (1, 3, SMALL.drawn, SMALL.drawn)


def test_evaluation_card_and_sheets(shop: stages.Shop) -> None:
    pipeline = build(SMALL, shop.work)
    figures = evaluate(pipeline, SMALL, shop.work, Settings(prompts=3, steps=1, test_pictures=2))
    figures |= {"training": {"step": 4, "samples": 16}, "autoencoder dB": 20.0}
    text = card(figures)
    assert "| measured colour | 3 |" in text
    assert "MIT" in text
    assert json.dumps(figures)
    sheet = prompt_sheet(pipeline, ("a red one", "a blue one"), (0, 1))
    assert sheet.shape == (SMALL.drawn, 4 * SMALL.drawn, 3)
    assert np.array_equal(sheet, prompt_sheet(pipeline, ("a red one", "a blue one"), (0, 1)))


def test_the_loss_on_unseen_creatures_is_the_same_again(shop: stages.Shop) -> None:
    first = unseen_loss(SMALL, shop.work, count=6)
    assert 0 < first < 10
    assert unseen_loss(SMALL, shop.work, count=6) == first


def test_every_stage_finds_what_is_done(shop: stages.Shop) -> None:
    before = load_checkpoint(shop.work / FOLDER)
    assert before is not None
    for name in ("draw", "autoencoder", "encode", "read", "train"):
        assert stages.RUN[name](shop), name
    after = load_checkpoint(shop.work / FOLDER)
    assert after is not None
    assert after["step"] == before["step"] == SMALL.painter.steps


def test_a_stage_without_the_one_before_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotYet, match="train it first"):
        finished_autoencoder(SMALL, tmp_path)
    with pytest.raises(NotYet, match="train it first"):
        build(SMALL, tmp_path)
    assert main(["assemble", "--work", str(tmp_path)]) == 1
    assert "train it first" in capsys.readouterr().err


def test_prompts_of_the_evaluation_were_never_seen() -> None:
    captions = unseen_captions(40)
    assert captions == unseen_captions(40)
    assert all({"element", "body", "colour"} <= set(one.named) for one in captions)


def test_shares_count_what_is_named_alone() -> None:
    captions = [
        Caption("", {"wings": frozenset({"bat", "feathered", "butterfly"})}),
        Caption("", {"wings": frozenset({"bat"}), "tail": frozenset({"none"})}),
    ]
    found = {"wings": ["feathered", "none"], "tail": ["curly", "none"]}
    assert shares_shown(captions, found) == {
        "wings": {"named": 2, "shown": 0.5},
        "tail": {"named": 1, "shown": 1.0},
    }


def test_tiles_lie_in_rows() -> None:
    pictures = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(3, 3)
    assert tile(pictures, 2)[..., 0].tolist() == [[0, 1], [2, 3]]


def test_adapters_are_in_any_server_what_they_were_in_training(shop: stages.Shop) -> None:
    assert stages.RUN["adapt"](shop)
    with Image.open(shop.work / "adapters.png") as picture:
        assert picture.size == (6 * SMALL.drawn, 5 * SMALL.drawn)
    for name in LESSONS:
        file = shop.work / ADAPTERS / f"{name}.safetensors"
        assert file.stat().st_size < 1_000_000
        state = load_checkpoint(shop.work / ADAPTERS / name)
        assert state is not None
        task = AdapterTask(SMALL, shop.work, name, torch.device("cpu"))
        bare = task.unet_weights()
        task.net.load_state_dict(state["averaged"])
        trained = task.unet_weights()
        pipeline = plainly_loaded(shop.output)
        stack = stack_over(pipeline, shop.output, quiet())
        stack.wear([wanted(file, 1.0)], nothing, nothing)
        assert stack.unmatched(wanted(file).digest) == ()
        served = {key: value.float() for key, value in pipeline.unet.state_dict().items()}
        changed = [key for key in bare if not torch.equal(bare[key], trained[key])]
        assert len(changed) > 20
        assert set(bare) == set(served)
        for key in bare:
            scale = (trained[key] - bare[key]).abs().max().item()
            # Factors are stored as halves, of eleven bits.
            assert torch.allclose(served[key], trained[key], rtol=0, atol=4e-3 * scale + 1e-7), key
