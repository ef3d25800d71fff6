"""Where a pipeline computes: a card's own bfloat16, else halves with a whole autoencoder, else the CPU in full."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention

from minimon_server.engines.messages import EngineFault
from minimon_server.engines.model_folders import BrokenModel, ModelFolders
from minimon_server.engines.sdxl_loading import Place, choose_place, know_signatures, load
from minimon_server.logs import Logger
from tests.small_pipeline import plainly_loaded


@pytest.mark.parametrize(
    ("cuda", "bfloat16", "wish", "expected"),
    [
        (True, True, "auto", ("cuda", torch.bfloat16)),
        (True, False, "cuda", ("cuda", torch.float16)),
        (True, True, "cpu", ("cpu", torch.float32)),
        (False, False, "auto", ("cpu", torch.float32)),
    ],
)
def test_the_place_follows_the_wish_and_the_card(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, bfloat16: bool, wish: str, expected: tuple[str, torch.dtype]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
    place = choose_place(wish)  # type: ignore[arg-type]
    assert (place.device.type, place.dtype) == expected
    assert place.reason


def test_a_wish_for_cuda_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineFault, match="MINIMON_DEVICE=cuda, but"):
        choose_place("cuda")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_part_has_the_numbers_of_the_place(models: Path, log: Logger, dtype: torch.dtype) -> None:
    told: list[tuple[int, int]] = []
    folder = ModelFolders(models, log).find("small")
    place = Place(torch.device("cpu"), dtype, "a test")
    pipeline = load(folder, place, lambda read, whole: told.append((read, whole)))
    # Also the autoencoder, whose settings say that it holds halves (test_sdxl_landing.py: where they do not).
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        assert {value.dtype for value in part.parameters()} == {dtype}
        assert not part.training
    assert told[0] == (0, told[-1][0])
    assert told == sorted(told)


def test_a_scheduler_that_nobody_knows_is_said(models: Path, tmp_path: Path, log: Logger) -> None:
    shutil.copytree(models / "small", tmp_path / "small")
    file = tmp_path / "small" / "scheduler" / "scheduler_config.json"
    for name in ("os", "UNet2DConditionModel", "MagicScheduler"):
        file.write_text(f'{{"_class_name": "{name}"}}')
        with pytest.raises(BrokenModel, match="small cannot be loaded"):
            load(
                ModelFolders(tmp_path, log).find("small"),
                Place(torch.device("cpu"), torch.float32, ""),
                lambda *_: None,
            )


def test_attention_finds_its_processors_parameters_at_once_and_they_are_the_right_ones(models: Path) -> None:
    unet = plainly_loaded(models / "small").unet
    attentions = [module for module in unet.modules() if isinstance(module, Attention)]
    before = [inspect.signature(attention.processor.__call__) for attention in attentions]
    plain = attentions[0](torch.ones(1, 4, attentions[0].query_dim))
    know_signatures(unet)
    assert attentions
    for attention, signature in zip(attentions, before, strict=True):
        assert inspect.signature(attention.processor.__call__).parameters == signature.parameters
    assert torch.equal(attentions[0](torch.ones(1, 4, attentions[0].query_dim)), plain)
