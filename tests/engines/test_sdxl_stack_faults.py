"""Adapters that are wrong, merges that are cut off: it is said, and the model is as it came."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from minimon_server.engines import system_memory
from minimon_server.engines.adapter_deltas import weight_change
from minimon_server.engines.messages import AdapterUse, DrawRequest, EngineFault, Stack, Stopped
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.pristine_weights import PristineWeights
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, files_of, nothing, same, stack_over, state_of, uses, wanted, write
from tests.engines.exhaustion import pipeline
from tests.engines.listening import Heard
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]


@pytest.fixture
def engine(shelf: Path, log: Logger) -> SdxlEngine:
    return SdxlEngine(ModelFolders(shelf, log), "cpu", log)


LAYER = "lora_unet_input_blocks_3_1_proj_in"
NUMBERS = {f"{LAYER}.lora_down.weight": torch.ones(2, 64), f"{LAYER}.lora_up.weight": torch.ones(64, 2)}
FIRST = "lora_unet_input_blocks_0_0"  # 4 channels in, 32 out, 3x3
NAN = torch.full((64, 2), float("nan"))
BAD: Mapping[str, tuple[dict[str, torch.Tensor], str]] = {
    "shape": ({**NUMBERS, f"{LAYER}.lora_down.weight": torch.ones(2, 65)}, "of a layer of [64, 64]"),
    "halves": ({f"{LAYER}.lora_down.weight": torch.ones(2, 64)}, "do not fit each other (down [2, 64])"),
    "ranks": ({**NUMBERS, f"{LAYER}.lora_down.weight": torch.ones(3, 64)}, "do not fit each other"),
    # two ranks: 9 x 32 x 5000 numbers between a file of 70000 and a layer of 1152
    "core": (
        {
            f"{FIRST}.lora_mid.weight": torch.ones(1, 5000, 3, 3),
            f"{FIRST}.lora_up.weight": torch.ones(32, 1),
            f"{FIRST}.lora_down.weight": torch.ones(5000, 4, 1, 1),
        },
        "do not fit each other (down [5000, 4, 1, 1], mid [1, 5000, 3, 3], up [32, 1])",
    ),
    "cores": (
        {f"{FIRST}.hada_t{one}": torch.ones(3, 1, 3, 3) for one in (1, 2)}
        | {f"{FIRST}.hada_w{one}_a": torch.ones(3, 32) for one in (1, 2)}
        | {f"{FIRST}.hada_w{one}_b": torch.ones(5000, 4) for one in (1, 2)},
        "do not fit each other",
    ),
    "kron": (
        {
            f"{FIRST}.lokr_w1": torch.ones(1, 1),
            f"{FIRST}.lokr_t2": torch.ones(5000, 1, 3, 3),
            f"{FIRST}.lokr_w2_a": torch.ones(1, 32),
            f"{FIRST}.lokr_w2_b": torch.ones(1, 4),
        },
        "do not fit each other",
    ),
    "rank": (
        {f"{LAYER}.lora_down.weight": torch.ones(4097, 64), f"{LAYER}.lora_up.weight": torch.ones(64, 4097)},
        "its rank is 4097, of at most 4096",
    ),
    "nan": ({**NUMBERS, f"{LAYER}.lora_up.weight": NAN}, "its up holds something that is not a number"),
    "rank0": (
        {f"{LAYER}.lora_down.weight": torch.ones(0, 64), f"{LAYER}.lora_up.weight": torch.ones(64, 0)},
        "as of rank 0",
    ),
    "alpha": ({**NUMBERS, f"{LAYER}.alpha": torch.tensor(float("inf"))}, "its alpha holds something"),
    "alphas": ({**NUMBERS, f"{LAYER}.alpha": torch.ones(2)}, "its alpha is not one number"),
    "whole": ({name: tensor.int() for name, tensor in NUMBERS.items()}, "not made of floating-point numbers"),
    "twice": (
        {**NUMBERS, "unet.down_blocks.1.attentions.0.proj_in.lora_A.weight": torch.ones(2, 64)},
        "changes unet.down_blocks.1.attentions.0.proj_in twice",
    ),
    "nothing": ({"lora_unet_input_blocks_99_1_proj_in.lora_down.weight": torch.ones(2, 64)}, "none of its 1 tensors"),
    "huge": ({**NUMBERS, f"{LAYER}.alpha": torch.tensor(3e38)}, "not a number"),
}


@pytest.mark.parametrize("bad", list(BAD))
def test_a_hostile_file_is_refused_and_leaves_the_model_as_it_came(
    engine: SdxlEngine, shelf: Path, request_for: Asking, bad: str
) -> None:
    tensors, problem = BAD[bad]
    save_file(tensors, shelf / "loras" / "bad.safetensors")
    drawn(engine, request_for(adapters=uses(loha=1.0), steps=1))
    with pytest.raises(EngineFault) as caught:
        drawn(engine, request_for(adapters=uses(loha=1.0, bad=2.0), steps=1))
    assert caught.value.text.startswith("An adapter (LoRA) cannot be used with small: bad: ")
    assert problem in caught.value.text
    assert str(shelf) not in caught.value.text
    drawn(engine, request_for(steps=1))
    assert same(state_of(pipeline(engine)), files_of(shelf / "small"))


def test_a_file_that_was_cut_or_is_not_there_is_refused(engine: SdxlEngine, shelf: Path, request_for: Asking) -> None:
    whole = (shelf / "loras" / "lora.safetensors").read_bytes()
    (shelf / "loras" / "cut.safetensors").write_bytes(whole[:-7])
    with pytest.raises(EngineFault, match="cut: it is not a whole safetensors file"):
        drawn(engine, request_for(adapters=uses(cut=1.0)))
    for name in ("nowhere", "../lora", "..", ""):
        with pytest.raises(EngineFault, match="There is no adapter"):
            drawn(engine, request_for(adapters=(AdapterUse(name, 1.0),)))


@pytest.mark.parametrize("stop_at", [("loading", 16), ("loading", 48)])
def test_a_merge_that_is_stopped_leaves_the_model_as_it_came(
    engine: SdxlEngine, shelf: Path, request_for: Asking, stop_at: tuple[str, int]
) -> None:
    drawn(engine, request_for(adapters=uses(loha=1.0), steps=1))
    with pytest.raises(Stopped):
        engine.draw(request_for(adapters=uses(locon=1.0)), Heard(stop_at))
    assert engine.loaded == Stack("small")
    assert same(state_of(pipeline(engine)), files_of(shelf / "small"))


def test_tensors_that_fit_nothing_are_named(
    engine: SdxlEngine, shelf: Path, request_for: Asking, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    odd = {f"lora_unet_nowhere_{number}.lora_up.weight": torch.ones(1) for number in range(99)}
    save_file({**NUMBERS, **odd, "x.oft_blocks": torch.ones(1)}, shelf / "loras" / "odd.safetensors")
    named = ", ".join([*sorted(odd), "x.oft_blocks"])
    for _ in range(2):  # also when the stack was merged for another job
        (told,) = drawn(engine, request_for(adapters=uses(odd=1.0), steps=1)).metadata["ignored"]
        assert told == f"loras.odd: 100 tensors fit no layer: {named}"
    (line,) = [line for line in logged() if line["event"] == "tensors of an adapter fit no layer"]
    assert (line["adapter"], line["tensors"], line["names"]) == ("odd", 100, named)


def test_names_that_no_answer_has_room_for_are_counted(
    engine: SdxlEngine, shelf: Path, request_for: Asking, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    odd = {f"{number:03}{'x' * 295}": torch.ones(1) for number in range(99)}  # 300 bytes each, as JSON
    save_file({**NUMBERS, **odd}, shelf / "loras" / "odd.safetensors")
    (told,) = drawn(engine, request_for(adapters=uses(odd=1.0), steps=1)).metadata["ignored"]
    assert told.startswith("loras.odd: 99 tensors fit no layer: 000xxx")
    assert told.endswith("x and 45 more")
    assert told.count(", ") == 53
    save_file({**NUMBERS, "\x01" * 4000: torch.ones(1), "y": torch.ones(1)}, shelf / "loras" / "long.safetensors")
    (told,) = drawn(engine, request_for(adapters=uses(long=1.0), steps=1)).metadata["ignored"]
    assert told == "loras.long: 2 tensors fit no layer: and 2 more"
    assert [len(line["names"]) < 1 << 15 for line in logged() if "names" in line] == [True, True]


def test_a_merge_that_cannot_fit_is_not_begun(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch, shelf: Path
) -> None:
    drawn(engine, request_for(steps=1))
    monkeypatch.setattr(system_memory, "free_bytes", lambda: 1000)
    with pytest.raises(EngineFault, match=r"Too little memory: merging needs at least \d+ MiB"):
        drawn(engine, request_for(adapters=uses(lora=1.0)))
    assert same(state_of(pipeline(engine)), files_of(shelf / "small"))


def test_what_makes_a_change_counts_in_what_a_merge_takes(tmp_path: Path, models: Path, quiet: Logger) -> None:
    stack = stack_over(plainly_loaded(models / "small"), models / "small", quiet)
    expected: list[int] = []

    def never(size: int, _: int) -> None:
        expected.append(size)
        raise EngineFault("no")

    layer, core = torch.ones(4096, 64), torch.ones(64, 64, 3, 3)
    wide = {f"{LAYER}.lora_down.weight": layer, f"{LAYER}.lora_up.weight": layer.T.contiguous()}
    tucker = {
        f"{FIRST}.lora_mid.weight": core,
        f"{FIRST}.lora_up.weight": torch.ones(32, 64),
        f"{FIRST}.lora_down.weight": torch.ones(64, 4, 1, 1),
    }
    for name, tensors in {"wide": wide, "tucker": tucker}.items():
        with pytest.raises(EngineFault):
            stack.wear([wanted(write(tmp_path / f"{name}.safetensors", tensors))], never, nothing)
    fresh = [64 * 64 * 4, 32 * 4 * 9 * 4]  # the weights themselves; nothing changes their biases
    beside = [2 * 64 * 64 + 2 * layer.numel(), 2 * 32 * 4 * 9 + core.numel() + 32 * 64 + 64 * 4 + 64 * 9 * 32]
    assert expected == [4 * numbers + own for numbers, own in zip(beside, fresh, strict=True)]


def test_memory_that_runs_out_while_merging_is_tried_again(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = drawn(engine, request_for(adapters=uses(loha=1.0), steps=1))
    drawn(engine, request_for(steps=1))
    calls = [0]

    def change(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return weight_change(*arguments)

    monkeypatch.setattr("minimon_server.engines.adapter_stack.weight_change", change)
    assert drawn(engine, request_for(adapters=uses(loha=1.0), steps=1)).pixels == right.pixels
    assert calls[0] > 41


def test_weights_that_change_on_the_disk_are_loaded_anew(
    shelf: Path, tmp_path: Path, request_for: Asking, log: Logger
) -> None:
    shutil.copytree(shelf, tmp_path / "own")
    engine = SdxlEngine(ModelFolders(tmp_path / "own", log), "cpu", log)
    bare = drawn(engine, request_for(steps=1))
    merged = drawn(engine, request_for(adapters=uses(lora=1.0), steps=1))
    weights = tmp_path / "own" / "small" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes())  # the same numbers, and who knows that
    assert drawn(engine, request_for(steps=1)).pixels == bare.pixels
    assert drawn(engine, request_for(adapters=uses(lora=1.0), steps=1)).pixels == merged.pixels


def test_a_model_that_cannot_be_restored_is_given_up(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = drawn(engine, request_for(steps=1))
    drawn(engine, request_for(adapters=uses(lora=1.0), steps=1))

    def broken(*_: object) -> None:
        raise RuntimeError("the device is busy")

    with monkeypatch.context() as patched:
        patched.setattr(PristineWeights, "restore", broken)
        with pytest.raises(RuntimeError, match="busy"):
            drawn(engine, request_for(steps=1))
    assert engine.loaded is None
    assert drawn(engine, request_for(steps=1)).pixels == bare.pixels
