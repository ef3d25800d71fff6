"""A whole engine with captured graphs draws what one without draws; and where graphs are chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Refused, Wishes
from minimon_server.engines.captured_graphs import captured_of
from minimon_server.engines.draft_decoder import find_draft_decoder
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, Hires
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_graphs import Graphs
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_loading import Place
from minimon_server.logs import Logger
from tests.engines.adapter_scene import uses
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.engines.graph_scene import go_on, recorded, with_graphs
from tests.engines.machines import MACHINES
from tests.small_pipeline import draft_decoder

Asking = Callable[..., DrawRequest]
CPU = Place(torch.device("cpu"), torch.float32, "")


def test_every_picture_is_that_of_an_engine_without_graphs(
    shelf: Path, request_for: Asking, quiet: Logger, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    draft_decoder().save_pretrained(tmp_path)
    draft = find_draft_decoder(str(tmp_path))
    plain = SdxlEngine(ModelFolders(shelf, quiet), "cpu", quiet, draft=draft)
    fast = SdxlEngine(ModelFolders(shelf, quiet), "cpu", quiet, plan=with_graphs(), draft=draft)
    stack = uses(lora=0.7, locon=-0.5)
    asked = [
        request_for(),
        request_for(prompt="a blue dog", seeds=(1, 2)),
        request_for(adapters=stack),
        request_for(),
        request_for(adapters=stack, prompt="another [cat:dog:0.5]", width=96),
        request_for(decoder="draft", seeds=(1, 2, 3)),
        request_for(hires=Hires(96, 96, 2, 0.6)),
        request_for(seeds=(1, 2, 3), exact=False),
        request_for(guidance_scale=1.0, clip_skip=2, scheduler="dpmpp_2m"),
        request_for(),
    ]
    for request in asked:
        theirs, ours = plain.draw(request, go_on).pictures, fast.draw(request, go_on).pictures
        assert [one.pixels for one in ours] == [one.pixels for one in theirs], request
    assert recorded(fast, "unet") > 1
    assert min(recorded(fast, part) for part in ("text_encoder", "text_encoder_2", "vae")) > 0
    plain.close()
    fast.close()


def test_a_request_for_which_memory_ran_out_draws_without_graphs_and_the_next_one_with(
    shelf: Path, request_for: Asking, quiet: Logger
) -> None:
    engine = SdxlEngine(ModelFolders(shelf, quiet), "cpu", quiet, plan=with_graphs())
    for _ in range(2):
        (right,) = engine.draw(request_for(), go_on).pictures
    assert (recorded(engine, "unet"), recorded(engine, "vae")) == (1, 1)
    errors = [torch.OutOfMemoryError(EXHAUSTED)]

    def exhausted(*_: Any) -> None:
        if errors:
            raise errors.pop()

    handle = pipeline(engine).vae.decoder.register_forward_pre_hook(exhausted)
    (found,) = engine.draw(request_for(), go_on).pictures
    handle.remove()
    assert found.metadata["rungs"] == []
    assert found.pixels == right.pixels
    assert recorded(engine, "unet") == 0
    assert engine.draw(request_for(), go_on).pictures[0].pixels == right.pixels
    assert recorded(engine, "unet") == 1
    engine.close()


@pytest.fixture
def captured(shelf: Path, request_for: Asking, quiet: Logger) -> Iterator[SdxlEngine]:
    """Return an engine whose networks have a graph each."""
    engine = SdxlEngine(ModelFolders(shelf, quiet), "cpu", quiet, plan=with_graphs())
    for _ in range(2):
        engine.draw(request_for(), go_on)
    yield engine
    engine.close()


def test_graphs_go_before_other_models_and_so_do_those_of_the_draft_decoder(
    captured: SdxlEngine, request_for: Asking, quiet: Logger
) -> None:
    draft, latents = draft_decoder().eval().requires_grad_(False), torch.zeros(1, 4, 4, 4)
    Graphs(with_graphs(), CPU.device, quiet).of_decoder(draft)
    drafts = captured_of(draft)
    assert drafts is not None
    for _ in range(2):
        drafts(latents)
    held: list[tuple[int, int]] = []

    def now() -> tuple[int, int]:
        return recorded(captured, "unet"), drafts.shapes

    def others(on_device: bool, reason: str, *, copies_only: bool = False) -> bool:
        if not copies_only:  # there are none
            held.append(now())
        return not copies_only

    ladder = Ladder(request_for(), CPU, quiet, MemoryTally(), others)
    ladder.stand_on(pipeline(captured), rests=False)
    ladder.draft = draft
    errors = [torch.OutOfMemoryError(EXHAUSTED) for _ in range(2)]

    def work() -> None:
        for _ in range(3):
            drafts(latents)
        if errors:
            raise errors.pop()

    assert now() == (1, 1)
    ladder.run("decoding", work)
    assert (held, now()) == ([(0, 0)], (0, 0))
    assert ladder.taken == []
    ladder.undo()
    work()
    assert now() == (0, 1)


def test_a_model_that_rests_in_main_memory_is_not_captured(
    captured: SdxlEngine, request_for: Asking, quiet: Logger
) -> None:
    ladder = Ladder(request_for(), CPU, quiet, MemoryTally())
    ladder.stand_on(pipeline(captured), rests=True)
    assert recorded(captured, "unet") == 0
    for _ in range(2):
        captured.draw(request_for(), go_on)
    assert recorded(captured, "unet") == 0
    ladder.undo()
    for _ in range(2):
        captured.draw(request_for(), go_on)
    assert recorded(captured, "unet") == 1


# What is chosen


@pytest.mark.parametrize("name", MACHINES)
def test_graphs_are_chosen_on_a_card_and_never_with_weights_that_move(name: str) -> None:
    machine = MACHINES[name]
    wished = Wishes(use_cuda_graphs=True)
    assert choose(wished, machine).graphs.value is (machine.device == "cuda")
    by_hand = frozenset({"use_cuda_graphs"})
    if machine.device == "cpu":
        with pytest.raises(Refused, match=r"SDXL_USE_CUDA_GRAPHS=1: a CPU has no CUDA graphs"):
            choose(Wishes(use_cuda_graphs=True, by_hand=by_hand), machine)
        return
    offloaded = choose(Wishes(use_cuda_graphs=True, enable_cpu_offload=True), machine)
    assert (offloaded.graphs.value, offloaded.offload.value) == (False, True)
    assert "SDXL_ENABLE_CPU_OFFLOAD" in offloaded.graphs.reason.en
    with pytest.raises(Refused, match="places of weights"):
        choose(Wishes(use_cuda_graphs=True, enable_cpu_offload=True, by_hand=by_hand), machine)
    assert choose(Wishes(), machine).graphs.value is False
