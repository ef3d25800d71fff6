"""Memory that runs out while LoRAs are merged or taken off: no wrong picture, an end, and the right advice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from minimon_server.engines.loaded_model import Loaded
from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.pristine_weights import PristineWeights
from minimon_server.engines.quantised_layers import QuantisedLayers
from minimon_server.engines.resident_models import ResidentModels
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, uses
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.engines.quantised_scene import engine_over, planned

pytest.importorskip("torchao")
Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Collect what each merge is known to take, and how much of it for layers in full, in bytes."""
    found: list[tuple[int, int]] = []
    look = Ladder.look_at_need

    def told(ladder: Ladder, stage: Any, needed: int, in_full: int = 0) -> None:
        if stage == "merging":
            found.append((needed, in_full))
        look(ladder, stage, needed, in_full)

    monkeypatch.setattr(Ladder, "look_at_need", told)
    return found


def failing(times: int, call: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Return what raises so many times before it does as it should."""
    left = [times]

    def work(*given: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return call(*given)

    return work


@pytest.mark.parametrize("fails", [1, 2, 3, 5])
@pytest.mark.parametrize("how", ["in full", "in few bits", "plain"])
def test_a_stack_that_memory_lets_nobody_take_off_is_in_no_later_picture(
    how: str, fails: int, shelf: Path, log: Logger, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = {"in full": planned("int8"), "in few bits": planned("int8", quantize_loras=True), "plain": planned()}
    with closing(engine_over(shelf, log, plans[how])) as engine:
        bare = drawn(engine, request_for(steps=1))
        assert drawn(engine, request_for(adapters=uses(lora=0.8), steps=1)).pixels != bare.pixels
        error = torch.OutOfMemoryError(EXHAUSTED)
        owner, name = (PristineWeights, "weight") if how == "plain" else (QuantisedLayers, "_made")
        right = getattr(owner, name)
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, failing(fails, right, error))
            try:
                assert drawn(engine, request_for(steps=1)).pixels == bare.pixels
            except EngineFault as fault:
                assert "ut of memory" in str(fault)  # noqa: PT017 (either end is right)
        again = drawn(engine, request_for(steps=1))
        assert again.pixels == bare.pixels
        assert "layers_in_full" not in again.metadata


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.OutOfMemoryError(EXHAUSTED)], ids=["main", "card"])
def test_a_merge_that_memory_never_suffices_for_ends_with_what_would_spare_it(
    error: Exception, shelf: Path, log: Logger, request_for: Asking, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(engine_over(shelf, log, planned("int8"))) as engine:
        bare = drawn(engine, request_for(steps=1)).pixels
        make_full, tries = QuantisedLayers._make_full, [0]

        def third(layers: QuantisedLayers, name: str) -> None:
            if len(layers.in_full) == 3:
                tries[0] += 1
                assert tries[0] < 20, "it does not end"
                raise error
            make_full(layers, name)

        monkeypatch.setattr(QuantisedLayers, "_make_full", third)
        with pytest.raises(EngineFault, match="stage: merging"):
            drawn(engine, request_for(adapters=uses(lora=0.8), steps=1))
        assert drawn(engine, request_for(steps=1)).pixels == bare
    (line,) = [line for line in logged() if "settings that would fit" in line["event"]]
    (setting,) = line["settings"]
    assert setting.startswith("SDXL_QUANTIZE_LORAS=1 (frees ")


def test_a_merge_that_surely_does_not_fit_is_not_begun_and_no_smaller_picture_is_advised(
    shelf: Path, log: Logger, request_for: Asking, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    for quantization, advised in (
        ("int8", "SDXL_QUANTIZE_LORAS=1"),
        ("none", "SDXL_QUANTIZATION=int8 SDXL_QUANTIZE_LORAS=1"),
    ):
        with closing(engine_over(shelf, log, planned(quantization))) as engine:
            drawn(engine, request_for(steps=1))
            short = Ladder._short
            with monkeypatch.context() as full:
                full.setattr(
                    Ladder,
                    "_short",
                    lambda one, stage, needed, look=short: (
                        (needed, needed - 1) if stage == "merging" else look(one, stage, needed)
                    ),
                )
                with pytest.raises(EngineFault, match="merging needs at least"):
                    drawn(engine, request_for(adapters=uses(lora=0.8), steps=1))
        line = [line for line in logged() if "settings that would fit" in line["event"]][-1]
        assert [one.partition(" (")[0] for one in line["settings"]] == [advised]


def test_a_merge_is_asked_for_no_more_than_its_layers_take_beyond_those_that_it_lets_go(
    shelf: Path,
    tmp_path: Path,
    log: Logger,
    request_for: Asking,
    needs: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted, count = list[int](), ResidentModels.count

    def noted(residents: ResidentModels, model: Loaded, more: int = 0) -> None:
        counted.append(more)
        count(residents, model, more)

    monkeypatch.setattr(ResidentModels, "count", noted)
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    whole = load_file(tmp_path / "loras" / "lora.safetensors")
    for name, part in (("selves", "_attn1_"), ("forward", "_ff_")):
        tensors = {key: value for key, value in whole.items() if part in key}
        save_file(tensors, tmp_path / "loras" / f"{name}.safetensors")
    biases = {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.diff_b": torch.ones(64) / 64}
    save_file(biases, tmp_path / "loras" / "biases.safetensors")
    with closing(engine_over(tmp_path, log, planned("int8"))) as engine:
        for stack in (uses(selves=1.0), uses(forward=1.0), uses(forward=0.5), uses(forward=0.5, selves=0.5)):
            drawn(engine, request_for(adapters=stack, steps=1))
        few = [in_full for _, in_full in needs]
        assert few[0] > 0 < few[1]
        assert few[2:] == [0, few[0]]  # those of `forward` are held so already
        assert [more for more in counted if more] == [few[0], few[1], few[3]]  # others go before the merge
        assert drawn(engine, request_for(adapters=uses(biases=1.0), steps=1)).metadata.get("layers_in_full") is None
        assert needs[-1][1] == 0


def test_only_pages_of_the_models_own_file_count_as_memory_that_a_merge_takes_and_only_once(
    shelf: Path, tmp_path: Path, log: Logger, request_for: Asking, needs: list[tuple[int, int]]
) -> None:
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "small" / "unet" / "diffusion_pytorch_model.safetensors"
    asked = request_for(adapters=uses(dora=1.0), steps=1)  # of the UNet alone
    for half in (False, True):
        if half:
            save_file({name: value.half() for name, value in load_file(file).items()}, file)
        with closing(SdxlEngine(ModelFolders(tmp_path, log), "cpu", log)) as engine:
            for one in (asked, request_for(steps=1), asked):
                drawn(engine, one)
            weights = sum(value.nbytes for value in pipeline(engine).unet.parameters())
        first, _, third = (needed for needed, _ in needs[-3:])
        assert (first - third > 0.3 * weights) is not half
        assert third <= first
        if half:
            assert first == third
