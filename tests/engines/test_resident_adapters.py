"""Adapters kept by content: a stack that comes back is merged without a file, from memory that nobody else wants."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from hashlib import file_digest
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from minimon_server.engines.adapter_reading import read_file
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import AdapterUse, DrawRequest, EngineFault
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.adapter_scene import KINDS, drawn, files_of, same, state_of, uses
from tests.engines.exhaustion import pipeline
from tests.engines.memory_held import MEBI, MOST_BLOCKS, MOST_GROWN, held, size
from tests.engines.test_resident_models import ROOM, Asking, Logged, size_of


@pytest.fixture
def root(shelf: Path, tmp_path: Path) -> Path:
    """Return a folder of two models and six adapters that a test may change."""
    return Path(shutil.copytree(shelf, tmp_path / "shelf"))


@pytest.fixture
def engine(root: Path, log: Logger, tally: MemoryTally) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(root, log), "cpu", log, tally, budgets=ROOM)
    yield engine
    engine.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the adapters' files that are opened from now on, to be mapped or to be hashed."""
    found: list[str] = []

    def mapped(path: Path, **settings: Any) -> Any:
        found.append(Path(path).name)
        return safe_open(path, **settings)

    def hashed(file: Any, kind: str) -> Any:
        found.extend([Path(file.name).name] if Path(file.name).parent.name == "loras" else [])
        return file_digest(file, kind)

    monkeypatch.setattr("minimon_server.engines.adapter_reading.safe_open", mapped)
    monkeypatch.setattr("minimon_server.engines.file_hashes.file_digest", hashed)
    return found


def fresh(root: Path, request: DrawRequest, quiet: Logger) -> bytes:
    """Return what an engine draws that has read nothing yet."""
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet)
    pixels = drawn(engine, request).pixels
    engine.close()
    return pixels


def test_a_stack_that_comes_back_reads_no_file_on_any_model(
    root: Path, engine: SdxlEngine, request_for: Asking, quiet: Logger, tally: MemoryTally, opened: list[str]
) -> None:
    stacks = (uses(lora=0.8, loha=-0.4), uses(full=0.6), (), uses(lora=0.3))
    asked = [request_for(model=name, adapters=one, steps=1) for name in ("small", "other") for one in stacks]
    right = [drawn(engine, request).pixels for request in asked]
    # Mapped once and hashed once each, whichever models they were merged into.
    assert sorted(opened) == sorted(2 * ["lora.safetensors", "loha.safetensors", "full.safetensors"])
    assert tally.adapters_read == 3
    assert tally.held["device"] > sum(one.bytes for one in tally.resident)
    opened.clear()
    for number in (1, 0, 6, 4, 5, 7, 2, 3, 0, 4):
        assert drawn(engine, asked[number]).pixels == right[number]
    assert opened == []
    assert tally.adapters_read == 3
    assert right[:2] == [fresh(root, request, quiet) for request in asked[:2]]
    drawn(engine, request_for(steps=1))
    assert same(state_of(pipeline(engine)), files_of(root / "small"))


def test_two_ids_of_the_same_content_are_one(
    root: Path, engine: SdxlEngine, request_for: Asking, tally: MemoryTally
) -> None:
    shutil.copyfile(root / "loras" / "lokr.safetensors", root / "loras" / "twin.safetensors")
    one = drawn(engine, request_for(adapters=uses(lokr=1.0), steps=1))
    drawn(engine, request_for(steps=1))
    other = drawn(engine, request_for(adapters=uses(twin=1.0), steps=1))
    assert other.pixels == one.pixels
    assert other.metadata["hashes"]["loras"].keys() == {"twin"}
    assert (tally.adapters_read, tally.adapters_kept) == (1, 1)


def test_a_file_that_was_overwritten_in_place_is_another_and_what_was_kept_stays_what_it_was(
    root: Path, engine: SdxlEngine, request_for: Asking, quiet: Logger, tally: MemoryTally
) -> None:
    path = root / "loras" / "locon.safetensors"
    former = path.read_bytes()
    asked = request_for(adapters=uses(locon=1.0), steps=1)
    before = drawn(engine, asked).pixels
    zeros = former[: len(former) // 2] + bytes(len(former) - len(former) // 2)
    with path.open("r+b") as file:
        file.write(zeros)  # the same inode, and as long: whoever had mapped it sees these
    after = drawn(engine, asked).pixels
    assert after == fresh(root, asked, quiet) != before
    (root / "loras" / "again.safetensors").write_bytes(former)
    assert drawn(engine, request_for(adapters=uses(again=1.0), steps=1)).pixels == before
    assert (tally.adapters_read, tally.adapters_kept) == (2, 1)


def test_without_room_nothing_is_kept_and_no_model_goes_for_an_adapter(
    root: Path, log: Logger, request_for: Asking, tally: MemoryTally, logged: Logged
) -> None:
    alone = SdxlEngine(ModelFolders(root, log), "cpu", log, tally, budgets=ROOM)
    drawn(alone, request_for(steps=1))
    both = size_of(alone) * 2 + 1024
    alone.close()
    engine = SdxlEngine(ModelFolders(root, log), "cpu", log, tally, budgets=Budgets(host=both))
    stacks = (uses(locon=1.0), uses(full=1.0))
    first = [drawn(engine, request_for(adapters=one, steps=1)).pixels for one in stacks]
    drawn(engine, request_for(model="other", steps=1))
    loads, reads = tally.loads, tally.adapters_read
    assert [drawn(engine, request_for(adapters=one, steps=1)).pixels for one in stacks] == first
    drawn(engine, request_for(model="other", steps=1))
    assert (tally.loads, tally.adapters_read) == (loads, reads + 2)
    assert tally.held["device"] == sum(one.bytes for one in tally.resident) <= both
    assert [line["kept"] for line in logged() if line["event"] == "adapter read"] == [True, True, False, False]
    (line,) = [line for line in logged() if line["event"] == "adapters put out"]
    assert (line["count"], line["reason"]) == (2, "room for the model in use")
    engine.close()


def test_a_file_that_cannot_be_used_is_not_kept(
    root: Path, engine: SdxlEngine, request_for: Asking, tally: MemoryTally
) -> None:
    drawn(engine, request_for(steps=1))
    held = tally.held
    path = root / "loras" / "bad.safetensors"
    path.write_bytes((root / "small" / "vae" / "diffusion_pytorch_model.safetensors").read_bytes())
    with pytest.raises(EngineFault, match="fits this model"):
        drawn(engine, request_for(adapters=uses(bad=1.0), steps=1))
    assert tally.held == held


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_what_was_hashed(
    root: Path, engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "loras" / "dora.safetensors"

    def meanwhile(asked: Path) -> Any:
        found = read_file(asked)
        path.with_suffix(".new").write_bytes((root / "loras" / "full.safetensors").read_bytes())
        path.with_suffix(".new").replace(path)
        return found

    monkeypatch.setattr("minimon_server.engines.resident_adapters.read_file", meanwhile)
    with pytest.raises(EngineFault, match="dora: its file changed while it was read"):
        drawn(engine, request_for(adapters=uses(dora=1.0), steps=1))
    monkeypatch.undo()
    one = drawn(engine, request_for(adapters=uses(dora=1.0), steps=1))
    assert one.pixels == drawn(engine, request_for(adapters=uses(full=1.0), steps=1)).pixels


@pytest.mark.parametrize("switches", [12, pytest.param(50, marks=pytest.mark.torture)])
def test_switches_of_stacks_leave_memory_as_it_was(
    root: Path, request_for: Callable[..., DrawRequest], quiet: Logger, switches: int
) -> None:
    """Six adapters with room for some of them, over two models."""
    tally = MemoryTally()
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet, tally, budgets=Budgets(host=26 * MEBI))
    names = [list(KINDS)[kind] for kind in (0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5)]

    def switch(number: int) -> None:
        stack = (AdapterUse(names[number % 12], 0.5),)
        model = ("small", "other")[number // 6 % 2]
        drawn(engine, request_for(model=model, adapters=stack, steps=1, guidance_scale=1.0))

    for number in range(12):
        switch(number)
    before, told, (grown, blocks) = held(root), tally.held, size()
    for number in range(12 * (switches // 12 + 1)):
        switch(number)
    assert held(root) == before
    assert before.files > 0
    if switches >= 50:
        assert size()[0] < grown + MOST_GROWN
        assert size()[1] < blocks + MOST_BLOCKS
    assert tally.held == told
    assert tally.adapters_read > 6
    assert tally.adapters_kept > 6
    engine.close()
    assert set(tally.held.values()) == {0}
    assert held(root).files == 0
