"""Jobs with adapters through a real engine: every picture as from a fresh one, and nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.messages import DrawRequest, Stack
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_numbers import in_float32
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, files_of, same, state_of, uses
from tests.engines.any_order import draw_in_any_order
from tests.engines.exhaustion import pipeline
from tests.small_pipeline import build_kin

Asking = Callable[..., DrawRequest]


@pytest.fixture
def engine(shelf: Path, log: Logger) -> SdxlEngine:
    return SdxlEngine(ModelFolders(shelf, log), "cpu", log)


def test_ten_jobs_in_any_order_draw_what_a_fresh_process_draws(shelf: Path, tmp_path: Path, quiet: Logger) -> None:
    """A sample of tests/torture/test_any_stacks.py: three models, of which two share parts, and six adapters."""
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    build_kin(shelf / "small", tmp_path / "kin", 9)
    draw_in_any_order(tmp_path, ("small", "other", "kin"), 10, quiet)


def test_weight_nought_and_another_order_are_the_same_to_the_last_bit(engine: SdxlEngine, request_for: Asking) -> None:
    bare = drawn(engine, request_for())
    stack = uses(lora=0.8, loha=-0.4, dora=0.5, full=0.6)
    merged = drawn(engine, request_for(adapters=stack))
    assert merged.pixels != bare.pixels
    assert drawn(engine, request_for(adapters=uses(lokr=1.0))).pixels != merged.pixels
    assert drawn(engine, request_for(adapters=stack[::-1])).pixels == merged.pixels
    nought = drawn(engine, request_for(adapters=uses(lora=0.0, lokr=0.0)))
    assert nought.pixels == bare.pixels
    assert nought.metadata["ignored"] == ["loras.lora: its weight is 0", "loras.lokr: its weight is 0"]
    assert engine.loaded == Stack("small")


def test_a_stack_is_merged_once_for_jobs_that_follow_each_other(
    engine: SdxlEngine, request_for: Asking, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    for seed in (1, 2, 3):
        drawn(engine, request_for(adapters=uses(lora=0.8), seeds=(seed,), steps=1))
    assert len([line for line in logged() if line["event"] == "adapters merged"]) == 1
    assert not [line for line in logged() if line["event"] == "weights copied before a merge"]
    engine.close()
    told = [engine.loaded]
    merged = drawn(engine, request_for(adapters=uses(lora=0.8), steps=1))
    told.append(engine.loaded)
    assert drawn(engine, request_for(steps=1)).pixels != merged.pixels
    assert [*told, engine.loaded] == [None, Stack("small", uses(lora=0.8)), Stack("small")]


def test_the_files_of_a_model_stay_as_they_are(engine: SdxlEngine, shelf: Path, request_for: Asking) -> None:
    before = files_of(shelf / "small")
    drawn(engine, request_for(adapters=uses(full=2.0, locon=2.0), steps=1))
    assert same(files_of(shelf / "small"), before)


def test_a_part_that_is_not_in_its_files_is_copied_and_comes_back(
    engine: SdxlEngine, request_for: Asking, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    drawn(engine, request_for(steps=1))
    unet = pipeline(engine).unet
    with torch.no_grad():
        unet.conv_out.weight.mul_(2)
    before = state_of(pipeline(engine))
    drawn(engine, request_for(adapters=uses(locon=1.0), steps=1))
    drawn(engine, request_for(steps=1))
    assert same(state_of(pipeline(engine)), before)
    (line,) = [line for line in logged() if line["event"] == "weights copied before a merge"]
    assert line["first"] == "unet.conv_out.weight"


def test_a_merged_unet_of_16_bits_is_drawn_in_32_and_comes_back(engine: SdxlEngine, request_for: Asking) -> None:
    drawn(engine, request_for(adapters=uses(locon=1.0), steps=1))
    loaded = pipeline(engine)
    loaded.unet.to(torch.bfloat16)
    before = state_of(loaded)
    with in_float32(loaded.unet, [loaded]):
        assert loaded.unet.dtype == torch.float32
    assert same(state_of(loaded), before)


def test_hashes_are_those_of_the_files(engine: SdxlEngine, shelf: Path, request_for: Asking) -> None:
    def digest(path: Path) -> str:
        return sha256(path.read_bytes()).hexdigest()

    picture = drawn(engine, request_for(adapters=uses(loha=1.0, lora=0.0), steps=1))
    hashes = picture.metadata["hashes"]
    assert hashes["vae"] == digest(shelf / "small" / "vae" / "diffusion_pytorch_model.safetensors")
    parts = ("text_encoder/model", "text_encoder_2/model", "unet/diffusion_pytorch_model")
    files = [f"{part}.safetensors" for part in parts]
    lines = [f"{digest(shelf / 'small' / name)}  {name}\n" for name in files]
    assert hashes["model"] == sha256("".join(lines).encode()).hexdigest()
    assert hashes["loras"] == {name: digest(shelf / "loras" / f"{name}.safetensors") for name in ("loha", "lora")}
    assert replace(request_for(), adapters=uses(lora=0.0)).stack == Stack("small")
