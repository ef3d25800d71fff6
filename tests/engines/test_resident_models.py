"""Several real models in one engine: loaded once, shared part by part, as their files have them, all given back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, Stack
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, files_of, same, state_of, uses
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.engines.memory_held import MEBI, MOST_BLOCKS, MOST_GROWN, held, size
from tests.small_pipeline import build, build_kin

Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]
ROOM = Budgets(host=1024 * MEBI)


@pytest.fixture(scope="module")
def three(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three models and the adapters of two; the third has the first one's text encoders and VAE."""
    root = tmp_path_factory.mktemp("three")
    shutil.copytree(shelf, root, dirs_exist_ok=True)
    build_kin(root / "small", root / "kin", 9)
    return root


@pytest.fixture
def engine(three: Path, log: Logger, tally: MemoryTally) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(three, log), "cpu", log, tally, budgets=ROOM)
    yield engine
    engine.close()


def size_of(engine: SdxlEngine) -> int:
    """Return the bytes of the model that was used last."""
    return engine._tally.resident[-1].bytes


def test_two_models_by_turns_are_loaded_once_each(
    engine: SdxlEngine, request_for: Asking, tally: MemoryTally, logged: Logged
) -> None:
    first = {name: drawn(engine, request_for(model=name, steps=1)).pixels for name in ("small", "other")}
    for _ in range(3):
        for name, pixels in first.items():
            assert drawn(engine, request_for(model=name, steps=1)).pixels == pixels
    assert first["small"] != first["other"]
    assert len([line for line in logged() if line["event"] == "model loaded"]) == tally.loads == 2
    assert (tally.evictions, [one.model for one in tally.resident]) == (0, ["small", "other"])
    assert tally.held["device"] == sum(one.bytes for one in tally.resident) > 2 * MEBI
    assert engine.loaded == Stack("other")


def test_a_stack_stays_on_a_model_while_another_draws(engine: SdxlEngine, request_for: Asking, logged: Logged) -> None:
    merged = drawn(engine, request_for(adapters=uses(lora=0.8), steps=1))
    drawn(engine, request_for(model="other", steps=1))
    assert drawn(engine, request_for(adapters=uses(lora=0.8), steps=1)).pixels == merged.pixels
    assert engine.loaded == Stack("small", uses(lora=0.8))
    assert len([line for line in logged() if line["event"] == "adapters merged"]) == 1


def test_parts_of_the_same_content_are_one_module_and_count_once(
    engine: SdxlEngine, request_for: Asking, tally: MemoryTally, logged: Logged
) -> None:
    drawn(engine, request_for(steps=1))
    small = pipeline(engine)
    drawn(engine, request_for(model="kin", steps=1))
    kin = pipeline(engine)
    assert kin.vae is small.vae
    assert kin.text_encoder is small.text_encoder
    assert kin.text_encoder_2 is small.text_encoder_2
    assert kin.unet is not small.unet
    shared = sum(one.nbytes for part in (kin.vae, kin.text_encoder, kin.text_encoder_2) for one in part.parameters())
    assert sum(one.bytes for one in tally.resident) - tally.held["device"] >= shared
    (line,) = [line for line in logged() if line["event"] == "model loaded" and line["model"] == "kin"]
    assert line["shared"] == ["text_encoder", "text_encoder_2", "vae"]


def test_a_shared_encoder_is_as_it_came_for_each_model(
    three: Path, engine: SdxlEngine, request_for: Asking, quiet: Logger
) -> None:
    """`lora` changes both text encoders, which `small` and `kin` share."""
    asked = [
        request_for(model=name, steps=1, adapters=stack) for name in ("small", "kin") for stack in ((), uses(lora=2.0))
    ]
    right = []
    for request in asked:
        fresh = SdxlEngine(ModelFolders(three, quiet), "cpu", quiet)
        right.append(drawn(fresh, request).pixels)
        fresh.close()
    assert len(set(right)) == 4
    for number in (1, 2, 1, 3, 0, 3, 1, 2, 0):
        assert drawn(engine, asked[number]).pixels == right[number]
    for name in ("kin", "small"):
        drawn(engine, request_for(model=name, steps=1))
        assert same(state_of(pipeline(engine)), files_of(three / name))


def test_the_least_recently_used_goes_when_there_is_no_room(
    three: Path, log: Logger, request_for: Asking, tally: MemoryTally, logged: Logged
) -> None:
    alone = SdxlEngine(ModelFolders(three, log), "cpu", log, tally)
    drawn(alone, request_for(steps=1))
    budget = size_of(alone) * 5 // 2
    alone.close()
    engine = SdxlEngine(ModelFolders(three, log), "cpu", log, tally, budgets=Budgets(host=budget))
    build(three / "fourth", 5)
    for name in ("small", "other", "small", "fourth", "small", "other"):
        drawn(engine, request_for(model=name, steps=1))
        assert tally.held["device"] <= budget
    put_out = [line["models"] for line in logged() if line["event"] == "models put out"]
    assert put_out == [["other"], ["fourth"]]
    assert {line["reason"] for line in logged() if line["event"] == "models put out"} == {"room for the model in use"}
    engine.close()
    assert (tally.resident, tally.held["device"], engine.loaded) == ((), 0, None)
    shutil.rmtree(three / "fourth")


@pytest.mark.parametrize("switches", [6, pytest.param(50, marks=pytest.mark.torture)])
def test_switches_leave_memory_as_it_was(three: Path, request_for: Asking, quiet: Logger, switches: int) -> None:
    """Three models that share parts and wear stacks, with room for one and a half of them: each switch loads.

    In what memory is counted: layers, tensors, mapped files; of the fifty of `make torture` also resident bytes.
    """
    tally = MemoryTally()
    engine = SdxlEngine(ModelFolders(three, quiet), "cpu", quiet, tally, budgets=Budgets(host=18 * MEBI))
    names = ("small", "other", "kin")

    def switch(number: int) -> None:
        stack = uses(lora=0.5) if number % 5 == 0 else ()
        drawn(engine, request_for(model=names[number % 3], adapters=stack, steps=1, guidance_scale=1.0))

    for number in range(6):
        switch(number)
    before, (grown, blocks) = held(three), size()
    for number in range(6, 6 + switches):
        switch(number)
    for number in range(6):  # the same in memory as before
        switch(number)
    assert tally.loads > switches / 3
    assert held(three) == before
    assert before.files > 0
    if switches >= 50:
        assert size()[0] < grown + MOST_GROWN
        assert size()[1] < blocks + MOST_BLOCKS
    engine.close()
    assert held(three).files == 0


def test_without_a_budget_one_model_is_kept(three: Path, log: Logger, request_for: Asking, tally: MemoryTally) -> None:
    engine = SdxlEngine(ModelFolders(three, log), "cpu", log, tally, budgets=Budgets(host=0))
    for name in ("small", "other", "other", "small"):
        drawn(engine, request_for(model=name, steps=1))
        assert [one.model for one in tally.resident] == [name]
    assert tally.loads == 3


def test_memory_that_runs_out_puts_out_the_others_before_the_first_rung(
    engine: SdxlEngine, request_for: Asking, tally: MemoryTally, logged: Logged
) -> None:
    right = drawn(engine, request_for(steps=1))
    drawn(engine, request_for(model="other", steps=1))
    drawn(engine, request_for(steps=1))
    raised: list[int] = []

    def once(*_: object) -> None:
        if not raised:
            raised.append(1)
            raise torch.OutOfMemoryError(EXHAUSTED)

    handle = pipeline(engine).unet.mid_block.register_forward_pre_hook(once)
    again = drawn(engine, request_for(steps=1))
    handle.remove()
    assert again.pixels == right.pixels
    assert again.metadata["rungs"] == []
    assert [one.model for one in tally.resident] == ["small"]
    (line,) = [line for line in logged() if line["event"] == "models put out"]
    assert (line["models"], line["reason"]) == (["other"], f"out of memory: {EXHAUSTED}")
    assert (tally.out_of_memory, tally.rungs["free"]) == (1, 0)


@pytest.mark.parametrize("edited", ["small", "kin"])
def test_a_shared_part_that_was_edited_on_the_disk_is_served_to_nobody(
    three: Path, tmp_path: Path, request_for: Asking, quiet: Logger, edited: str
) -> None:
    """Weights written in place, in a folder that looks the same otherwise."""
    root = tmp_path / "own"
    shutil.copytree(three, root)
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet, budgets=ROOM)
    before = {name: drawn(engine, request_for(model=name, steps=1)).pixels for name in ("small", "kin")}
    weights = root / edited / "vae" / "diffusion_pytorch_model.safetensors"
    fresh = root / "other" / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copyfile(fresh, weights.with_suffix(".new"))
    weights.with_suffix(".new").replace(weights)
    after = {name: drawn(engine, request_for(model=name, steps=1)).pixels for name in ("small", "kin")}
    assert {name for name in before if before[name] != after[name]} == {edited}


def test_a_model_that_goes_down_comes_back_as_it_was(
    three: Path, log: Logger, request_for: Asking, tally: MemoryTally, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two tiers, as beside a GPU: real modules, whose device is this machine's memory too."""
    two = {"device": 12 * MEBI, "host": 64 * MEBI}
    monkeypatch.setattr("minimon_server.engines.sdxl.budgets_here", lambda *_: two)
    engine = SdxlEngine(ModelFolders(three, log), "cpu", log, tally)
    stack = uses(lora=0.7, locon=-0.5)
    right = drawn(engine, request_for(adapters=stack, steps=1)).pixels
    mapped = next(pipeline(engine).unet.parameters()).data_ptr()
    drawn(engine, request_for(model="other", steps=1))
    assert {one.model: one.tier for one in tally.resident} == {"small": "host", "other": "device"}
    assert drawn(engine, request_for(adapters=stack, steps=1)).pixels == right
    assert next(pipeline(engine).unet.parameters()).data_ptr() != mapped
    assert (tally.loads, tally.evictions) == (2, 0)
    assert tally.demotions == 8
    assert len([line for line in logged() if line["event"] == "adapters merged"]) == 1
    drawn(engine, request_for(steps=1))
    assert same(state_of(pipeline(engine)), files_of(three / "small"))
