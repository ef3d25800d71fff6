"""Requests side by side in a real pipeline: exact ones to the bit, others to rounding, each with an end of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawnPicture, DrawRequest, EngineFault, NotNow, Outcome, Progress, Stopped
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines import every_scheduler
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.engines.listening import Heard

Asking = Callable[..., DrawRequest]
# What rounding may change, of 255: a value in the middle between two shades falls to either side.
TOLERANCE = 1


@pytest.fixture
def engine(models: Path, quiet: Logger, tally: MemoryTally) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, tally)
    yield engine
    engine.close()


def go_on(_: Progress) -> bool:
    return True


def together(
    engine: SdxlEngine, requests: Sequence[DrawRequest], reports: Sequence[Any] | None = None
) -> list[Outcome]:
    """Return what becomes of each, and see that each was told of once."""
    found: dict[int, Outcome] = {}

    def deliver(index: int, outcome: Outcome) -> None:
        assert index not in found
        found[index] = outcome

    engine.draw_together(requests, reports or [go_on] * len(requests), deliver)
    return [found[index] for index in range(len(requests))]


def drawn(outcome: Outcome) -> DrawnPicture:
    assert not isinstance(outcome, EngineFault | Stopped | NotNow), outcome
    return outcome


def alone(engine: SdxlEngine, request: DrawRequest) -> bytes:
    (picture,) = engine.draw(request, go_on).pictures
    return picture.pixels


def far(one: bytes, other: bytes) -> int:
    """Return by how much two pictures differ at the most."""
    left, right = (np.frombuffer(pixels, np.uint8).astype(int) for pixels in (one, other))
    return int(np.abs(left - right).max())


@pytest.mark.parametrize("scheduler", every_scheduler.parameters(None))
def test_an_exact_picture_is_the_same_beside_others_with_every_scheduler(
    engine: SdxlEngine, request_for: Asking, scheduler: str | None
) -> None:
    asked = [
        request_for(scheduler=scheduler, guidance_rescale=0.7),
        request_for(scheduler=scheduler, seeds=(8,), prompt="[a red:a blue:2] cat", steps=4),
        request_for(scheduler=scheduler, seeds=(9,), guidance_scale=1.0, prompt="a dog"),
        request_for(scheduler=scheduler, seeds=(10,), exact=False),
        request_for(scheduler=scheduler, seeds=(11,), exact=False),
    ]
    right = [alone(engine, request) for request in asked[:3]]
    found = [drawn(one) for one in together(engine, asked)]
    assert [one.pixels for one in found[:3]] == right
    assert ["batch" in one.metadata for one in found] == [False, False, False, True, True]
    assert [one.seed for one in found] == [7, 8, 9, 10, 11]


def test_others_are_the_same_to_rounding_whatever_their_steps_and_words(
    engine: SdxlEngine, request_for: Asking
) -> None:
    many = "a cat, " * 30  # more than one chunk of tokens
    asked = [
        request_for(seeds=(number,), steps=steps, prompt=prompt, guidance_scale=guidance, exact=False)
        for number, (steps, prompt, guidance) in enumerate(
            [(3, "a cat", 5.0), (5, "a dog", 5.0), (3, many, 5.0), (2, "an owl", 1.0), (3, "an owl", 7.5)]
        )
    ]
    heard = [Heard() for _ in asked]
    found = [drawn(one) for one in together(engine, asked, heard)]
    for request, one, said in zip(asked, found, heard, strict=True):
        right = alone(engine, request)
        assert far(one.pixels, right) <= TOLERANCE
        assert one.metadata["prompt"] == request.prompt
        assert [each.current for each in said.of("drawing")] == list(range(request.steps + 1))
        assert said[-1].phase == "decoding"
    assert [one.metadata.get("batch", 1) for one in found] == [3, 3, 1, 1, 3]


def test_who_needs_fewer_steps_has_its_picture_first(engine: SdxlEngine, request_for: Asking) -> None:
    asked = [request_for(seeds=(number,), steps=steps, exact=False) for number, steps in enumerate([6, 2, 4])]
    order: list[int] = []
    engine.draw_together(asked, [go_on] * 3, lambda index, _: order.append(index))
    assert order == [1, 2, 0]


def test_one_that_is_stopped_or_cannot_be_costs_no_other_anything(engine: SdxlEngine, request_for: Asking) -> None:
    asked = [
        request_for(),
        request_for(seeds=(8,)),
        request_for(clip_skip=99),
        request_for(scheduler="none such"),
        request_for(seeds=(9,), exact=False),
        request_for(seeds=(10,), exact=False),
    ]
    reports = [go_on, Heard(("drawing", 2)), go_on, go_on, Heard(("drawing", 1)), go_on]
    found = together(engine, asked, reports)
    assert drawn(found[0]).pixels == alone(engine, asked[0])
    assert isinstance(found[1], Stopped)
    assert isinstance(found[2], EngineFault)
    assert "clip_skip" in found[2].text
    assert isinstance(found[3], EngineFault)
    assert "none such" in found[3].text
    assert isinstance(found[4], Stopped)
    assert far(drawn(found[5]).pixels, alone(engine, asked[5])) <= TOLERANCE


def test_when_all_have_gone_nothing_is_drawn(engine: SdxlEngine, request_for: Asking) -> None:
    asked = [request_for(seeds=(number,), steps=50) for number in range(2)]
    heard = [Heard(("drawing", 1)), Heard(("drawing", 2))]
    assert [type(one) for one in together(engine, asked, heard)] == [Stopped, Stopped]
    assert [one[-1].current for one in heard] == [1, 2]
    gone = [Heard(("loading", 0)) for _ in asked]
    engine.close()
    assert [type(one) for one in together(engine, asked, gone)] == [Stopped, Stopped]


def test_memory_that_runs_out_halves_the_batch(engine: SdxlEngine, request_for: Asking, tally: MemoryTally) -> None:
    asked = [request_for(seeds=(number,), exact=False) for number in range(4)]
    right = [alone(engine, request) for request in asked]

    def short(_: Any, arguments: tuple[Any, ...]) -> None:
        if len(arguments[0]) > 2:  # more than one picture, with what it avoids
            raise torch.OutOfMemoryError(EXHAUSTED)

    handle = pipeline(engine).unet.mid_block.register_forward_pre_hook(short)
    try:
        found = [drawn(one) for one in together(engine, asked)]
    finally:
        handle.remove()
    assert [one.pixels for one in found] == right
    assert found[0].metadata["rungs"] == ["free", "halve"]
    assert tally.rungs["halve"] == 2
    assert drawn(together(engine, asked)[0]).metadata["rungs"] == []


def test_decoding_that_runs_out_of_memory_halves_the_batch_too(engine: SdxlEngine, request_for: Asking) -> None:
    asked = [request_for(seeds=(number,), exact=False) for number in range(4)]
    right = [alone(engine, request) for request in asked]
    sizes: list[int] = []

    def short(_: Any, arguments: tuple[Any, ...]) -> None:
        sizes.append(len(arguments[0]))
        if len(arguments[0]) > 2:
            raise torch.OutOfMemoryError(EXHAUSTED)

    handle = pipeline(engine).vae.decoder.register_forward_pre_hook(short)
    try:
        found = [drawn(one) for one in together(engine, asked)]
    finally:
        handle.remove()
    assert sizes == [4, 4, 2, 2]
    assert max(far(one.pixels, picture) for one, picture in zip(found, right, strict=True)) <= TOLERANCE


def test_a_batch_that_cannot_fit_is_halved_before_it_begins(
    engine: SdxlEngine, request_for: Asking, tally: MemoryTally, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [request_for(seeds=(number,), exact=False) for number in range(4)]
    together(engine, asked)
    # Decoding one takes 3 tensors of 32 channels, 64x64 pixels, 4 bytes: 1.5 MiB.
    monkeypatch.setattr("minimon_server.engines.sdxl_ladder.free_bytes", lambda _: 3_200_000)
    found = [drawn(one) for one in together(engine, asked)]
    assert [one.metadata["batch"] for one in found] == [2, 2, 2, 2]
    assert (tally.rungs["halve"], tally.out_of_memory) == (1, 0)


def test_what_is_no_number_is_drawn_alone(engine: SdxlEngine, request_for: Asking) -> None:
    asked = [request_for(seeds=(number,), exact=False) for number in range(3)]
    right = [alone(engine, request) for request in asked]

    def poison(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        if len(output) < 6:
            return output
        output = output.clone()
        output[0] = float("nan")
        return output

    handle = pipeline(engine).unet.conv_out.register_forward_hook(poison)
    try:
        found = [drawn(one) for one in together(engine, asked)]
    finally:
        handle.remove()
    assert found[0].pixels == right[0]
    assert "batch" not in found[0].metadata
    assert max(far(one.pixels, picture) for one, picture in zip(found, right, strict=True)) <= TOLERANCE


def test_an_error_between_two_evaluations_of_a_step_begins_that_row_anew(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [request_for(seeds=(number,), scheduler="dpmpp_2m", steps=5) for number in range(2)]
    right = [alone(engine, request) for request in asked]
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler as Scheduler

    whole, calls = Scheduler.multistep_dpm_solver_second_order_update, []

    def failing(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:  # the scheduler has taken the answer, and not the step
            raise torch.OutOfMemoryError(EXHAUSTED)
        return whole(*arguments, **named)

    monkeypatch.setattr(Scheduler, "multistep_dpm_solver_second_order_update", failing)
    assert [drawn(one).pixels for one in together(engine, asked)] == right


def test_the_pictures_of_one_request_without_a_seed_are_one_batch(engine: SdxlEngine, request_for: Asking) -> None:
    request = request_for(seeds=(1, 2, 3), exact=False)
    heard = Heard()
    pictures = engine.draw(request, heard).pictures
    assert [one.metadata["batch"] for one in pictures] == [3, 3, 3]
    assert [said.current for said in heard.of("drawing")] == list(range(10))
    for seed, picture in zip(request.seeds, pictures, strict=True):
        assert far(picture.pixels, alone(engine, request_for(seeds=(seed,)))) <= TOLERANCE
    with pytest.raises(Stopped):
        engine.draw(request, Heard(("drawing", 2)))
    exact = engine.draw(request_for(seeds=(1, 2, 3)), go_on).pictures
    assert [one.pixels for one in exact] == [alone(engine, request_for(seeds=(seed,))) for seed in (1, 2, 3)]
    hires = engine.draw(request_for(seeds=(1, 2), exact=False, width=32, height=32), go_on).pictures
    assert [one.metadata["batch"] for one in hires] == [2, 2]
