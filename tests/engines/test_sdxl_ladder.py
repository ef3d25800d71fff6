"""Memory that runs out in a real pipeline: each rung of the ladder helps where it can, and leaves no trace behind."""

from __future__ import annotations

import ctypes
import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minimon_server.engines.host_copies import move
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawnPicture, DrawRequest, EngineFault, Progress
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_ladder import HOME, Ladder
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_tiles import LARGEST_TILE, tile_side
from minimon_server.logs import Logger
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.engines.listening import Heard

Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]


def go_on(_: Progress) -> bool:
    return True


@pytest.fixture
def engine(models: Path, log: Logger, tally: MemoryTally, request_for: Asking) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(models, log), "cpu", log, tally)
    engine.draw(request_for(), go_on)
    yield engine
    engine.close()


def one(engine: SdxlEngine, request: DrawRequest) -> DrawnPicture:
    (picture,) = engine.draw(request, go_on).pictures
    return picture


def image(picture: DrawnPicture) -> Any:
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3).astype(int)


@contextmanager
def exhausted(part: Any, is_short: Callable[[torch.Tensor], bool]) -> Iterator[list[int]]:
    """Let a network run out of memory, while it computes, whenever `is_short` of what comes in."""
    raised: list[int] = []

    def hook(_: Any, arguments: tuple[Any, ...]) -> None:
        if is_short(arguments[0]):
            raised.append(1)
            torch.ones(1000)
            raise torch.OutOfMemoryError(EXHAUSTED)

    handle = part.register_forward_pre_hook(hook)
    try:
        yield raised
    finally:
        handle.remove()


def live() -> tuple[int, int]:
    """Return how many tensors there are, and how many bytes they hold."""
    gc.collect()
    sizes = [each.nbytes for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter)]
    return len(sizes), sum(sizes)


def resident() -> int:
    gc.collect()
    # What was freed and is kept for later is nobody's; how much that is depends on what ran before.
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096


def test_an_error_that_passes_costs_one_rung_and_the_picture_is_the_same(
    engine: SdxlEngine, request_for: Asking, tally: MemoryTally, logged: Logged
) -> None:
    right = one(engine, request_for(steps=6))
    calls: list[int] = []

    def third(_: torch.Tensor) -> bool:
        calls.append(1)
        return len(calls) == 3

    heard = Heard()
    with exhausted(pipeline(engine).unet.mid_block, third):
        (again,) = engine.draw(request_for(steps=6), heard).pictures
    assert again.pixels == right.pixels
    assert (right.metadata["rungs"], again.metadata["rungs"]) == ([], ["free"])
    assert [said.current for said in heard.of("drawing")] == [0, 1, 2, 1, 2, 3, 4, 5, 6]
    assert not any(said.preview for said in heard)  # they are given up for memory
    assert (tally.out_of_memory, tally.rungs["free"]) == (1, 1)
    (told,) = [line for line in logged() if line["event"] == "out of memory"]
    assert (told["stage"], told["rung"], told["problem"]) == ("drawing", "free", EXHAUSTED)


def test_only_the_stage_that_failed_is_run_again(engine: SdxlEngine, request_for: Asking) -> None:
    calls: list[int] = []

    def second(_: torch.Tensor) -> bool:
        calls.append(1)
        return len(calls) == 2

    right = engine.draw(request_for(seeds=(1, 2)), go_on).pictures
    heard = Heard()
    with exhausted(pipeline(engine).vae.decoder, second):
        pictures = engine.draw(request_for(seeds=(1, 2)), heard).pictures
    assert len(calls) == 3
    assert [said.current for said in heard.of("drawing")] == list(range(7))
    assert [picture.pixels for picture in pictures] == [picture.pixels for picture in right]


def test_tiles_decode_what_whole_pictures_cannot(engine: SdxlEngine, request_for: Asking, tally: MemoryTally) -> None:
    right = one(engine, request_for())
    with exhausted(pipeline(engine).vae.decoder, lambda latents: latents.shape[-1] > 8):
        tiled = one(engine, request_for())
    assert (right.metadata["decoded"], tiled.metadata["decoded"]) == ("whole", "tiled")
    assert tiled.metadata["rungs"] == ["free", "tile"]
    assert image(tiled).shape == image(right).shape
    assert tiled.pixels != right.pixels  # tiles are normalised by themselves
    assert np.corrcoef(image(tiled).ravel(), image(right).ravel())[0, 1] > 0.8
    assert tally.rungs == {"free": 1, "halve": 0, "tile": 1, "slice": 0, "offload": 0}
    assert one(engine, request_for()).pixels == right.pixels


def test_rows_one_by_one_draw_what_two_at_once_cannot(engine: SdxlEngine, request_for: Asking) -> None:
    right = one(engine, request_for())
    with exhausted(pipeline(engine).unet.mid_block, lambda hidden: len(hidden) > 1):
        sliced = one(engine, request_for())
    assert sliced.metadata["rungs"] == ["free", "slice"]
    assert sliced.metadata["decoded"] == "whole"
    assert np.abs(image(sliced) - image(right)).max() <= 1  # the same numbers, added in another order
    assert "forward" not in vars(pipeline(engine).unet)
    assert one(engine, request_for()).pixels == right.pixels


@pytest.mark.parametrize(
    ("part", "guidance", "tried"),
    [
        ("unet", 5.0, "tried: free, tile (not possible: only decoding has tiles), slice, offload (not possible: the"),
        ("unet", 1.0, "slice (not possible: there is one row), offload (not possible: the CPU has nowhere to"),
        ("vae", 5.0, "stage: decoding; tried: free, tile, slice (not possible: only drawing has rows), offload (not"),
        ("text_encoder_2", 5.0, "stage: prompt; tried: free, tile (not possible"),
    ],
)
def test_at_the_end_of_the_ladder_the_job_fails_and_says_what_was_tried(
    engine: SdxlEngine, request_for: Asking, part: str, guidance: float, tried: str
) -> None:
    right = one(engine, request_for())
    network = getattr(pipeline(engine), part)
    inner = {"unet": "mid_block", "vae": "decoder", "text_encoder_2": "text_projection"}[part]
    with (
        exhausted(getattr(network, inner), lambda _: True),
        pytest.raises(EngineFault, match="CUDA out of memory: 64x64 pixels with small") as caught,
    ):
        engine.draw(request_for(guidance_scale=guidance), go_on)
    assert tried in caught.value.text
    assert caught.value.__context__ is None
    assert one(engine, request_for()).pixels == right.pixels


@pytest.mark.parametrize("many", [20, pytest.param(100, marks=pytest.mark.torture)])
def test_many_errors_leave_nothing_behind(engine: SdxlEngine, request_for: Asking, many: int) -> None:
    """At random calls inside UNet and autoencoder, some that pass, some that do not."""
    dice = random.Random(7)
    right = one(engine, request_for())
    places = (
        pipeline(engine).unet.mid_block,
        pipeline(engine).unet.up_blocks[1].resnets[0],
        pipeline(engine).vae.decoder,
    )
    faults = errors = 0

    def run_out() -> None:
        nonlocal faults, errors
        left = [dice.randint(1, 4)]  # so many calls from now, and so often
        times = dice.choice((1, 1, 2, 9))

        def now(_: torch.Tensor) -> bool:
            left[0] -= 1
            return -times < left[0] <= 0

        with exhausted(dice.choice(places), now) as raised:
            try:
                picture = one(engine, request_for())
                assert np.corrcoef(image(picture).ravel(), image(right).ravel())[0, 1] > 0.8
            except EngineFault:
                faults += 1
        errors += len(raised)

    while errors < 20:
        run_out()
    tensors, memory = live(), resident()
    errors = faults = 0
    while errors < many:
        run_out()
    assert faults > many / 20
    assert live() == tensors
    assert resident() <= memory * 1.01
    assert one(engine, request_for()).pixels == right.pixels


def test_tiles_are_smaller_than_the_picture_whatever_the_librarys_own_size(log: Logger, request_for: Asking) -> None:
    """SDXL's own tile is 1024 pixels: left as it is, tiling would do nothing for the usual picture."""

    class Shape:
        config = type("config", (), {"block_out_channels": (128, 256, 512, 512)})

    class Parts:
        vae = Shape()

    for width, height, side in ((1024, 1024, 64), (2048, 1536, 64), (512, 512, 32), (72, 64, 8), (64, 64, 8)):
        asked = request_for(width=width, height=height)
        ladder = Ladder(asked, Place(HOME, torch.float32, ""), log, MemoryTally())
        ladder.stand_on(Parts(), rests=False)
        assert tile_side(ladder._latents()) == side <= LARGEST_TILE


def test_a_stage_brings_its_own_parts_to_the_device_and_sends_the_others_home(
    engine: SdxlEngine, log: Logger, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU: which parts would move where, and that all come back."""
    there: dict[str, str] = dict.fromkeys(("unet", "vae", "text_encoder", "text_encoder_2"), "cuda")

    def moved(_: Any, parts: Any, device: torch.device) -> None:
        there.update(dict.fromkeys(parts, device.type))

    monkeypatch.setattr("minimon_server.engines.sdxl_ladder.move", moved)
    ladder = Ladder(request_for(), Place(torch.device("cuda"), torch.float16, ""), log, MemoryTally())
    ladder.stand_on(pipeline(engine), rests=False)
    seen = []

    def work() -> None:
        seen.append(sorted(part for part, device in there.items() if device == "cuda"))
        if len(seen[-1]) > 1:
            raise torch.OutOfMemoryError(EXHAUSTED)

    ladder.run("drawing", work)
    ladder.run("decoding", work)
    assert seen[-2:] == [["unet"], ["vae"]]
    assert ladder.taken == ["free", "offload"]
    ladder.undo()
    assert set(there.values()) == {"cuda"}


def test_what_moves_stays_the_same(engine: SdxlEngine) -> None:
    weights = pipeline(engine).vae.state_dict()
    move(pipeline(engine), ["vae"], HOME)
    assert all(torch.equal(value, weights[name]) for name, value in pipeline(engine).vae.state_dict().items())
