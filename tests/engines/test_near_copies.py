"""Weights as they came, kept where merges compute: to the last bit what the files hold, and only while there is room.

Run on the CPU, which is told that its device has memory of its own; nothing here was run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.host_copies import copies
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.near_copies import NearCopies
from minimon_server.engines.pristine_weights import PristineWeights
from minimon_server.engines.residency import HOST, Budgets, Residency
from minimon_server.engines.resident_adapters import ResidentAdapters
from minimon_server.engines.resident_copies import ResidentCopies
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.adapter_scene import CPU, drawn, files_of, nothing, same, stack_over, state_of, uses, wanted
from tests.engines.exhaustion import pipeline
from tests.engines.test_resident_models import ROOM, Asking, Logged, size_of
from tests.small_pipeline import plainly_loaded

STACKS: tuple[dict[str, float], ...] = ({"lora": 0.8, "loha": -0.4}, {"full": 0.6}, {"lora": 0.3}, {}, {"locon": 1.0})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the weights that are read from files from now on."""
    found: list[tuple[str, str]] = []
    weight = PristineWeights.weight

    def reading(self: PristineWeights, place: tuple[str, str]) -> torch.Tensor:
        found.append(place)
        return weight(self, place)

    monkeypatch.setattr(PristineWeights, "weight", reading)
    return found


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every engine take its device for one with memory of its own."""
    made = ResidentCopies.__init__

    def told(self: ResidentCopies, policy: Any, device: Any, log: Any, apply: Any) -> None:
        made(self, policy, CPU, log, apply)

    monkeypatch.setattr(ResidentCopies, "__init__", told)


def states(shelf: Path, log: Logger, near: NearCopies | None) -> list[dict[str, torch.Tensor]]:
    """Return the weights of a model after each of the stacks, twice round."""
    loaded = plainly_loaded(shelf / "small")
    stack = stack_over(loaded, shelf / "small", log, near=near)
    found = []
    for weights in STACKS * 2:
        asked = [wanted(shelf / "loras" / f"{name}.safetensors", weight) for name, weight in weights.items()]
        stack.wear(asked, nothing, nothing)
        found.append(state_of(loaded))
    stack.take_off()
    assert same(state_of(loaded), files_of(shelf / "small"))
    return found


def test_every_merge_is_that_of_files_and_what_was_kept_is_read_once(
    shelf: Path, log: Logger, read: list[tuple[str, str]]
) -> None:
    right = states(shelf, log, None)
    read.clear()
    asked: list[int] = []

    def room(size: int) -> bool:
        asked.append(size)
        return True

    near = NearCopies(CPU, room)
    assert all(same(one, other) for one, other in zip(states(shelf, log, near), right, strict=True))
    assert asked == sorted(asked)
    assert near.held == asked[-1] > 0
    # Once to be measured and once to be kept.
    assert max(read.count(place) for place in set(read)) == 2


def test_without_room_each_merge_reads_its_files_and_room_that_ends_gives_all_back(shelf: Path, log: Logger) -> None:
    right = states(shelf, log, None)
    never = NearCopies(CPU, lambda _: False)
    assert all(same(one, other) for one, other in zip(states(shelf, log, never), right, strict=True))
    assert never.held == 0
    turns, held = iter([True, False, True] * 10), list[int]()

    def now_and_then(_: int) -> bool:
        held.append(near.held)
        return next(turns)

    near = NearCopies(CPU, now_and_then)
    assert all(same(one, other) for one, other in zip(states(shelf, log, near), right, strict=True))
    assert 0 in held
    assert max(held) > 0


def test_a_weight_that_the_files_do_not_hold_as_it_was_loaded_is_had_from_its_copy(shelf: Path, log: Logger) -> None:
    loaded = plainly_loaded(shelf / "small")
    with torch.no_grad():
        loaded.unet.get_parameter("conv_in.weight").add_(1.0)
    came = state_of(loaded)
    stack = stack_over(loaded, shelf / "small", log, near=NearCopies(CPU, lambda _: True))
    for name in ("locon", "full", "locon"):
        stack.wear([wanted(shelf / "loras" / f"{name}.safetensors")], nothing, nothing)
        assert not same(state_of(loaded), came)
        stack.wear([], nothing, nothing)
        assert same(state_of(loaded), came)


@pytest.mark.usefixtures("apart")
def test_they_lie_in_what_models_leave_of_the_device_and_go_before_any_model(
    shelf: Path, log: Logger, request_for: Asking, tally: MemoryTally, logged: Logged
) -> None:
    asked = [request_for(adapters=uses(lora=0.8), steps=1), request_for(adapters=uses(full=0.6), steps=1)]
    right = [_fresh(shelf, one, log) for one in asked]
    with closing(SdxlEngine(ModelFolders(shelf, log), "cpu", log, tally, budgets=ROOM)) as engine:
        assert [drawn(engine, one).pixels for one in asked * 2] == right * 2
        kept = _held(engine)
        size = size_of(engine)
        assert tally.held["device"] >= size + kept > size
        drawn(engine, request_for(model="other", steps=1))
        assert _held(engine) == kept
    with closing(
        SdxlEngine(ModelFolders(shelf, log), "cpu", log, tally, budgets=Budgets(host=2 * size + 1024))
    ) as tight:
        assert [drawn(tight, one).pixels for one in asked * 2] == right * 2
        loads = tally.loads
        drawn(tight, request_for(model="other", steps=1))
        assert _held(tight) == 0
        assert drawn(tight, asked[0]).pixels == right[0]
        assert (tally.loads, _held(tight)) == (loads + 1, 0)  # both models stay, and leave no room
    assert "room for the model in use" in [
        line["reason"] for line in logged() if line["event"] == "weights on the device put out"
    ]


def test_what_was_given_back_is_kept_again_by_the_next_stack_over_the_same_weights(shelf: Path, log: Logger) -> None:
    loaded = plainly_loaded(shelf / "small")
    near = NearCopies(CPU, lambda _: True)
    stack = stack_over(loaded, shelf / "small", log, near=near)
    for weight in (0.5, 0.8):
        near.clear()
        stack.wear([wanted(shelf / "loras" / "lora.safetensors", weight)], nothing, nothing)
        assert near.held > 0


def test_copies_lie_on_their_device_and_serve_no_other(shelf: Path, log: Logger) -> None:
    """A model whose networks were offloaded lies in main memory, and so does what it is compared with."""
    loaded = plainly_loaded(shelf / "small")
    near = NearCopies(torch.device("meta"), lambda _: True)
    stack = stack_over(loaded, shelf / "small", log, near=near)
    stack.wear([wanted(shelf / "loras" / "lora.safetensors")], nothing, nothing)
    assert near.held == 0
    stack.wear([], nothing, nothing)
    assert same(state_of(loaded), files_of(shelf / "small"))


@pytest.mark.usefixtures("apart")
def test_where_memory_ran_short_none_are_kept_until_the_model_is_loaded_again(
    shelf: Path, log: Logger, request_for: Asking
) -> None:
    asked = request_for(adapters=uses(lora=0.8), steps=1)
    with closing(SdxlEngine(ModelFolders(shelf, log), "cpu", log, MemoryTally(), budgets=ROOM)) as engine:
        right = drawn(engine, asked).pixels
        assert _held(engine) > 0
        assert engine._residents is not None
        assert engine._residents.make_room(True, "a test", copies_only=True)
        assert not engine._residents.make_room(True, "a test", copies_only=True)
        assert _held(engine) == 0
        drawn(engine, request_for(steps=1))
        assert drawn(engine, asked).pixels == right
        assert _held(engine) == 0
        engine._residents.put_out("small", "a test")
        assert drawn(engine, asked).pixels == right
        assert _held(engine) > 0
        assert same(_taken_off(engine, request_for), files_of(shelf / "small"))


def _taken_off(engine: SdxlEngine, request_for: Callable[..., DrawRequest]) -> dict[str, torch.Tensor]:
    drawn(engine, request_for(steps=1))
    return state_of(pipeline(engine))


def _held(engine: SdxlEngine) -> int:
    assert engine._residents is not None
    return sum(copies.held for copies in engine._residents._near._copies.values())


def _fresh(shelf: Path, request: DrawRequest, log: Logger) -> bytes:
    with closing(SdxlEngine(ModelFolders(shelf, log), "cpu", log, budgets=ROOM)) as engine:
        return drawn(engine, request).pixels


def test_what_cannot_be_pinned_is_kept_as_it_is_and_said(
    shelf: Path, log: Logger, logged: Logged, tally: MemoryTally, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def no_room(tensors: list[torch.Tensor], *, pin: bool) -> dict[int, torch.Tensor]:
        asked.append(pin)
        if pin:
            raise RuntimeError("CUDA error: out of memory")
        return copies(tensors, pin=False)

    monkeypatch.setattr("minimon_server.engines.adapter_reading.copies", no_room)
    kept = ResidentAdapters(Residency(0, 2**30), HOST, FileHashes(log), log, tally, lambda: None)
    loaded = plainly_loaded(shelf / "small")
    stack = stack_over(loaded, shelf / "small", log, read=kept.take)
    lora = wanted(shelf / "loras" / "lora.safetensors", 0.8)
    stack.wear([lora], nothing, nothing)
    merged = state_of(loaded)
    stack.wear([], nothing, nothing)
    stack.wear([lora], nothing, nothing)
    assert same(state_of(loaded), merged)
    assert (asked, tally.adapters_read, tally.adapters_kept) == ([True, False], 1, 1)
    (line,) = [line for line in logged() if line["event"] == "adapter not pinned"]
    assert line["reason"] == "CUDA error: out of memory"
