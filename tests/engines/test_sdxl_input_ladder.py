"""Memory that runs out, and 16 bits that do not hold, while a drawing begins with a picture or has a second pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.jobs import replay
from minimon_server.logs import Logger
from tests.engines.beginnings import INPUTS, KINDS, drawn, go_on
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.engines.listening import Heard

Asking = Callable[..., DrawRequest]


@pytest.fixture
def engine(models: Path, quiet: Logger, tally: MemoryTally, request_for: Asking) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, tally)
    engine.draw(request_for(), go_on)
    yield engine
    engine.close()


@pytest.mark.parametrize("asked", KINDS.values(), ids=KINDS)
def test_what_is_drawn_anew_is_the_same_picture_and_its_steps_count_once(
    engine: SdxlEngine, request_for: Asking, tally: MemoryTally, asked: dict[str, Any]
) -> None:
    request = request_for(**asked, seeds=(1, 2))
    right = [picture.pixels for picture in engine.draw(request, go_on, INPUTS).pictures]
    calls: list[int] = []

    def last_step_of_the_first(*_: Any) -> None:
        calls.append(1)
        if len(calls) == request.total_steps // 2:
            raise torch.OutOfMemoryError(EXHAUSTED)

    handle = pipeline(engine).unet.register_forward_pre_hook(last_step_of_the_first)
    heard = Heard()
    try:
        found = engine.draw(request, heard, INPUTS)
    finally:
        handle.remove()
    assert [picture.pixels for picture in found.pictures] == right
    assert tally.out_of_memory == 1
    assert max(said.current for said in heard.of("drawing")) == request.total_steps
    assert heard.of("drawing")[-1].current == request.total_steps


def test_a_picture_between_two_passes_may_be_decoded_in_tiles(engine: SdxlEngine, request_for: Asking) -> None:
    request = request_for(**KINDS["twice"])
    right = drawn(engine, request)
    vae = pipeline(engine).vae

    def whole(_: Any, arguments: tuple[Any, ...]) -> None:
        if not vae.use_tiling:
            raise torch.OutOfMemoryError(EXHAUSTED)

    handle = vae.decoder.register_forward_pre_hook(whole)
    try:
        (picture,) = engine.draw(request, go_on).pictures
    finally:
        handle.remove()
    assert picture.metadata["decoded"] == "tiled"
    assert not vae.use_tiling
    assert np.array_equal(drawn(engine, request), right)


@pytest.mark.parametrize("asked", KINDS.values(), ids=KINDS)
def test_what_is_no_number_in_16_bits_is_drawn_again_in_32(
    engine: SdxlEngine, request_for: Asking, asked: dict[str, Any]
) -> None:
    parts = pipeline(engine)
    networks = [parts.unet, parts.vae, parts.text_encoder, parts.text_encoder_2]
    for network in networks:
        network.to(torch.bfloat16)

    def overflow(_: Any, __: Any, output: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        return (output[0] * float("inf"),) if parts.unet.dtype == torch.bfloat16 else None

    handle = parts.unet.register_forward_hook(overflow)
    try:
        (picture,) = engine.draw(request_for(**asked), go_on, INPUTS).pictures
    finally:
        handle.remove()
    assert picture.metadata["dtype"] == "float32"
    assert {network.dtype for network in networks} == {torch.bfloat16}
    assert np.frombuffer(picture.pixels, np.uint8).std() > 1


def test_what_the_engine_tells_of_a_picture_is_known_to_whoever_makes_it_again(
    engine: SdxlEngine, request_for: Asking
) -> None:
    (picture,) = engine.draw(request_for(**KINDS["twice"]), go_on).pictures
    body = replay.body_of(picture.metadata)
    assert body["hires"] == {"width": 96, "height": 96, "steps": 4, "strength": 0.5}
    told = picture.metadata
    hashes = {name: digest for name, digest in told["hashes"].items() if isinstance(digest, str)}
    assert set(hashes) == {"model", "vae"}
    here = {"device": told["device"], "dtype": told["dtype"]}
    assert replay.differences(told, told["versions"], told["model_fingerprint"], hashes=hashes, device=here) == []


def test_a_picture_that_16_bits_cannot_encode_is_encoded_in_32(engine: SdxlEngine, request_for: Asking) -> None:
    vae = pipeline(engine).vae
    vae.to(torch.bfloat16)
    vae.register_to_config(force_upcast=False)
    right = drawn(engine, request_for(**KINDS["from a picture"]))

    def overflow(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor | None:
        return output * float("inf") if output.dtype == torch.bfloat16 else None

    handle = vae.encoder.register_forward_hook(overflow)
    try:
        found = drawn(engine, request_for(**KINDS["from a picture"]))
    finally:
        handle.remove()
    assert vae.dtype == torch.bfloat16
    assert np.corrcoef(found.ravel(), right.ravel())[0, 1] > 0.9
