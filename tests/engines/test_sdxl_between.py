"""Creatures between two steps of a job in a real pipeline: both are to the bit what they are without each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.compiled_unet import CompiledUnet
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import (
    AdapterUse,
    DrawnPicture,
    DrawRequest,
    EngineFault,
    EngineLost,
    NotNow,
    Outcome,
    Progress,
    Reply,
    Stack,
    Stopped,
)
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_acceleration import Accelerated
from minimon_server.logs import Logger
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.engines.quantised_scene import planned

Asking = Callable[..., DrawRequest]


def go_on(_: Progress) -> bool:
    return True


class Interrupted:
    """A report of a job that draws others after each of its steps, where there is room."""

    def __init__(
        self, engine: SdxlEngine, others: list[DrawRequest], report: Callable[[Progress], Any] = go_on
    ) -> None:
        self.engine, self.others, self.other_report = engine, others, report
        self.room: list[bool] = []
        self.found: list[Outcome] = []

    def __call__(self, progress: Progress) -> Reply:
        if progress.phase == "drawing" and 0 < progress.current < progress.total:
            self.room.append(self.engine.has_room_for(self.others))
            if self.room[-1]:
                reports = [self.other_report] * len(self.others)
                self.engine.draw_together(self.others, reports, lambda _, outcome: self.found.append(outcome))
        return Reply.SHOW


def pixels(engine: SdxlEngine, request: DrawRequest, report: Callable[[Progress], Any] = go_on) -> list[bytes]:
    return [picture.pixels for picture in engine.draw(request, report).pictures]


@pytest.mark.parametrize(
    "changes",
    [
        {"scheduler": "dpmpp_2m", "steps": 4},
        {"scheduler": "euler_a", "guidance_scale": 1.0, "negative_prompt": ""},
        {"seeds": (1, 2), "prompt": "[a cat:a dog:2]", "guidance_rescale": 0.5},
        {"seeds": (1, 2), "exact": False},
    ],
    ids=["multistep", "ancestral", "schedule", "batch"],
)
def test_a_job_and_the_creatures_between_its_steps_are_what_they_are_alone(
    engine: SdxlEngine, request_for: Asking, changes: dict[str, Any]
) -> None:
    job = request_for(**changes)
    others = [request_for(seeds=(50,), prompt="a newt", scheduler="ddim"), request_for(seeds=(51,), steps=2)]
    right, alone = pixels(engine, job), [pixels(engine, one)[0] for one in others]
    interrupted = Interrupted(engine, others)
    assert pixels(engine, job, interrupted) == right
    assert interrupted.room == [True] * (job.total_steps - 1)
    found = {one.seed: one.pixels for one in interrupted.found if isinstance(one, DrawnPicture)}
    assert len(interrupted.found) == 2 * len(interrupted.room)
    assert [found[50], found[51]] == alone
    assert not engine.has_room_for(others)  # nothing is being drawn


def test_what_fails_or_is_stopped_between_two_steps_costs_the_job_nothing(
    engine: SdxlEngine, request_for: Asking
) -> None:
    job = request_for()
    right = pixels(engine, job)
    wrong = Interrupted(engine, [request_for(clip_skip=99), request_for(seeds=(50,))])
    assert pixels(engine, job, wrong) == right
    assert [type(one) for one in wrong.found] == [EngineFault, DrawnPicture] * 2
    stopped = Interrupted(engine, [request_for(seeds=(50,))], lambda said: said.phase != "drawing")
    assert pixels(engine, job, stopped) == right
    assert [type(one) for one in stopped.found] == [Stopped] * 2


def test_there_is_no_room_beside_other_weights_or_in_too_little_memory(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, same = request_for(steps=2), request_for(seeds=(50,))
    for other in (
        request_for(model="other"),
        request_for(adapters=(AdapterUse("any", 1.0),)),
        request_for(seeds=(1, 2)),
    ):
        refused = Interrupted(engine, [other])
        engine.draw(job, refused)
        assert (refused.room, refused.found) == ([False], [])
    monkeypatch.setattr("minimon_server.engines.sdxl_ladder.free_bytes", lambda _: 1_600_000)
    fits = Interrupted(engine, [same])
    engine.draw(job, fits)
    larger = Interrupted(engine, [request_for(width=128, height=128)])
    engine.draw(job, larger)
    assert (fits.room, larger.room) == ([True], [False])


def test_there_is_no_room_beside_a_job_that_ran_out_of_memory(engine: SdxlEngine, request_for: Asking) -> None:
    engine.draw(request_for(), go_on)
    calls: list[int] = []

    def first(_: Any, __: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError(EXHAUSTED)

    interrupted = Interrupted(engine, [request_for(seeds=(50,))])
    handle = pipeline(engine).unet.mid_block.register_forward_pre_hook(first)
    try:
        engine.draw(request_for(), interrupted)
    finally:
        handle.remove()
    assert (interrupted.room, interrupted.found) == ([False, False], [])


def test_what_does_not_fit_after_all_waits_for_its_turn(engine: SdxlEngine, request_for: Asking) -> None:
    job = request_for(steps=2)
    right = pixels(engine, job)

    def large(_: Any, arguments: tuple[Any, ...]) -> None:
        if arguments[0].shape[-1] > 16:
            raise torch.OutOfMemoryError(EXHAUSTED)

    interrupted = Interrupted(engine, [request_for(width=128, height=128)])
    handle = pipeline(engine).unet.conv_in.register_forward_pre_hook(large)
    try:
        assert pixels(engine, job, interrupted) == right
    finally:
        handle.remove()
    assert [type(one) for one in interrupted.found] == [NotNow]
    assert pixels(engine, job) == right


def test_it_is_drawn_by_the_model_of_the_job_and_puts_no_other_out_of_memory(
    models: Path, quiet: Logger, tally: MemoryTally, request_for: Asking
) -> None:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, tally, budgets=Budgets(host=1024 * 2**20))
    engine.draw(request_for(model="other", steps=1), go_on)
    job = request_for(steps=2)
    right = pixels(engine, job)
    model, kept = engine._model, tally.resident

    def large(_: Any, arguments: tuple[Any, ...]) -> None:
        if arguments[0].shape[-1] > 16:
            raise torch.OutOfMemoryError(EXHAUSTED)

    fits = Interrupted(engine, [request_for(seeds=(50,))])
    assert pixels(engine, job, fits) == right
    handle = pipeline(engine).unet.conv_in.register_forward_pre_hook(large)
    short = Interrupted(engine, [request_for(width=128, height=128)])
    assert pixels(engine, job, short) == right
    handle.remove()
    assert [type(one) for one in (*fits.found, *short.found)] == [DrawnPicture, NotNow]
    assert [one.model for one in kept] == ["other", "small"]
    assert (tally.resident, engine._model, engine.loaded) == (kept, model, Stack("small"))
    assert (tally.loads, tally.evictions) == (2, 0)
    engine.close()


def test_where_the_unet_is_compiled_no_graph_is_made_between_two_steps(
    models: Path, quiet: Logger, request_for: Asking
) -> None:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)
    engine.draw(request_for(steps=1), go_on)
    assert engine._model is not None
    compiled = CompiledUnet(pipeline(engine).unet, planned(use_compile=True), "cpu", quiet, backend="eager")
    engine._model.accelerated = Accelerated(compiled=compiled)
    some = [request_for(seeds=(number,), exact=False) for number in (50, 51, 52)]
    known = Interrupted(engine, some)
    right = pixels(engine, request_for(steps=2), known)
    assert ["batch" in one.metadata for one in known.found if isinstance(one, DrawnPicture)] == [False] * 3
    unknown = Interrupted(engine, [request_for(seeds=(50,), guidance_scale=1.0)])
    assert pixels(engine, request_for(steps=2), unknown) == right
    assert [type(one) for one in unknown.found] == [NotNow]
    assert [rows for (rows, *_), *_ in compiled.buckets] == [2]
    engine.draw_together(some, [go_on] * 3, lambda _, outcome: known.found.append(outcome))
    told = [one.metadata.get("batch") for one in known.found[3:] if isinstance(one, DrawnPicture)]
    assert told == [2, 2, None]
    assert {rows for (rows, *_), *_ in compiled.buckets} == {2, 4}
    engine.close()


def test_a_device_that_is_lost_between_two_steps_is_lost_to_the_job(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimon_server.engines.sdxl.is_lost", lambda error, _: "gone" in str(error))

    def gone(_: Any, arguments: tuple[Any, ...]) -> None:
        if arguments[0].shape[-1] > 16:
            raise RuntimeError("the device is gone")

    engine.draw(request_for(), go_on)
    handle = pipeline(engine).unet.conv_in.register_forward_pre_hook(gone)
    try:
        with pytest.raises(EngineLost):
            engine.draw(request_for(steps=2), Interrupted(engine, [request_for(width=128, height=128)]))
    finally:
        handle.remove()
