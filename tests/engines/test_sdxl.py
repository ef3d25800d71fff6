"""The SDXL engine over real classes with random weights: the same picture always, a stop at once, no wrong picture."""

from __future__ import annotations

import io
import json
import shutil
import socket
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from minimon_server.engines.messages import AdapterUse, DrawRequest, EngineFault, Progress, Stack, Stopped
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.picture_files import pack
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.listening import Heard
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]


def go_on(_: Progress) -> bool:
    return True


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)))


def one(engine: SdxlEngine, request: DrawRequest) -> bytes:
    (picture,) = engine.draw(request, go_on).pictures
    return pack(picture)


@pytest.mark.parametrize("negative", ["", "blurry"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_picture_is_the_librarys_own(
    engine: SdxlEngine, models: Path, request_for: Asking, negative: str, guidance: float
) -> None:
    ours = pixels(one(engine, request_for(negative_prompt=negative, guidance_scale=guidance)))
    drawn = plainly_loaded(models / "small")(
        "a red cat",
        negative_prompt=negative or None,
        width=64,
        height=64,
        num_inference_steps=3,
        guidance_scale=guidance,
        generator=torch.Generator("cpu").manual_seed(7),
    )
    assert np.array_equal(ours, np.asarray(drawn.images[0]))
    assert ours.std() > 1


def test_a_seed_is_a_picture_wherever_and_whenever(
    engine: SdxlEngine, models: Path, request_for: Asking, quiet: Logger
) -> None:
    alone = one(engine, request_for())
    beside = engine.draw(request_for(seeds=(3, 7, 2**53 - 1)), go_on).pictures
    assert [picture.seed for picture in beside] == [3, 7, 2**53 - 1]
    assert pack(beside[1]) == alone
    assert len({picture.pixels for picture in beside}) == 3
    one(engine, request_for(prompt="another", scheduler="euler_a", width=96, steps=5))
    assert one(engine, request_for()) == alone
    fresh = SdxlEngine(ModelFolders(models, quiet), "auto", quiet)
    assert one(fresh, request_for()) == alone
    fresh.close()
    assert fresh.loaded is None
    assert one(fresh, request_for()) == alone


def test_progress_is_told_step_by_step(models: Path, request_for: Asking, quiet: Logger) -> None:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)
    heard = Heard()
    engine.draw(request_for(seeds=(1, 2), steps=6), heard)
    loading, drawing, decoding = heard.of("loading"), heard.of("drawing"), heard.of("decoding")
    assert heard == loading + drawing + decoding
    assert loading[0].current == 0
    assert loading[-1].current == loading[-1].total > 0
    assert [(said.current, said.total) for said in drawing] == [(step, 12) for step in range(13)]
    assert [(said.current, said.total) for said in decoding] == [(at, 2) for at in (0, 1, 2)]
    assert [said.current for said in drawing if said.preview] == [5, 6, 11, 12]
    for said in drawing:
        if said.preview:
            preview = Image.open(io.BytesIO(said.preview))
            assert max(preview.size) <= 128
            assert preview.mode == "RGB"


def test_a_scheduler_of_second_order_counts_steps_as_the_user_does(engine: SdxlEngine, request_for: Asking) -> None:
    heard = Heard()
    engine.draw(request_for(scheduler="heun", steps=4), heard)
    assert [said.current for said in heard.of("drawing")] == [0, 0, 1, 1, 2, 2, 3, 4]


@pytest.mark.parametrize("stop_at", [("drawing", 0), ("drawing", 2), ("decoding", 0)])
def test_a_stop_comes_within_a_step_and_leaves_no_trace(
    engine: SdxlEngine, request_for: Asking, stop_at: tuple[str, int]
) -> None:
    before = one(engine, request_for())
    heard = Heard(stop_at)
    with pytest.raises(Stopped):
        engine.draw(request_for(scheduler="dpmpp_2m", seeds=(1, 2)), heard)
    assert (heard[-1].phase, heard[-1].current) == stop_at
    assert engine.loaded == Stack("small")
    assert one(engine, request_for()) == before


def test_a_stop_while_loading_leaves_nothing_loaded(models: Path, request_for: Asking, quiet: Logger) -> None:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)
    with pytest.raises(Stopped):
        engine.draw(request_for(), Heard(("loading", 10)))
    assert engine.loaded is None
    assert one(engine, request_for())


def test_one_model_goes_before_the_other_comes_where_there_is_room_for_one(
    models: Path, request_for: Asking, quiet: Logger
) -> None:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, budgets=Budgets(host=0))
    small = one(engine, request_for())
    assert engine._model is not None
    unet = weakref.ref(engine._model.pipeline.unet)
    there: list[bool] = []

    def report(_: Progress) -> bool:
        there.append(unet() is not None)
        return True

    (other,) = engine.draw(request_for(model="other"), report).pictures
    assert there[0] is False
    assert not any(there)
    assert pack(other) != small
    assert engine.loaded == Stack("other")
    assert one(engine, request_for()) == small


def test_what_made_a_picture_stands_inside_it(engine: SdxlEngine, request_for: Asking) -> None:
    request = request_for(prompt="un chat, très rouge ❤", scheduler="dpmpp_2m_karras", clip_skip=2, guidance_scale=6.5)
    (picture,) = engine.draw(request, go_on).pictures
    opened = Image.open(io.BytesIO(pack(picture)))
    told = json.loads(opened.info["minimon"])
    assert told == picture.metadata
    assert (told["prompt"], told["seed"], told["scheduler"]) == (request.prompt, 7, "dpmpp_2m_karras")
    assert told["ignored"] == []
    assert opened.info["parameters"].splitlines() == [
        "un chat, très rouge ❤",
        "Negative prompt: blurry",
        "Steps: 3, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 7, Size: 64x64, "
        f"Model hash: {told['hashes']['model'][:10]}, Model: small, "
        f"VAE hash: {told['hashes']['vae'][:10]}, Clip skip: 2, "
        f"Version: Minimon {told['versions']['minimon']}",
    ]
    assert opened.size == (picture.width, picture.height) == (64, 64)


def test_a_negative_prompt_that_cannot_count_is_told(engine: SdxlEngine, request_for: Asking) -> None:
    (picture,) = engine.draw(request_for(guidance_scale=1.0), go_on).pictures
    assert picture.metadata["ignored"] == ["negative_prompt: guidance_scale is 1 or less"]


def test_nothing_is_asked_of_the_network(
    models: Path, request_for: Asking, quiet: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert one(SdxlEngine(ModelFolders(models, quiet), "cpu", quiet), request_for())


def test_half_precision_files_are_drawn_too(models: Path, tmp_path: Path, request_for: Asking, quiet: Logger) -> None:
    plainly_loaded(models / "small").to(torch.float16).save_pretrained(tmp_path / "small", variant="fp16")
    assert (tmp_path / "small" / "unet" / "diffusion_pytorch_model.fp16.safetensors").exists()
    engine = SdxlEngine(ModelFolders(tmp_path, quiet), "cpu", quiet)
    (picture,) = engine.draw(request_for(), go_on).pictures
    assert picture.metadata["dtype"] == "float32"
    assert pixels(pack(picture)).std() > 1


def test_a_model_that_is_replaced_on_disk_is_loaded_anew(
    models: Path, tmp_path: Path, request_for: Asking, quiet: Logger
) -> None:
    shutil.copytree(models / "small", tmp_path / "small")
    engine = SdxlEngine(ModelFolders(tmp_path, quiet), "cpu", quiet)
    before = one(engine, request_for())
    shutil.rmtree(tmp_path / "small")
    shutil.copytree(models / "other", tmp_path / "small")
    assert one(engine, request_for()) != before


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": "nowhere"}, "There is no model nowhere here; there are: other, small."),
        ({"scheduler": "magic"}, "There is no scheduler magic; there are: euler, "),
        ({"adapters": (AdapterUse("neon", 1.0),)}, "There is no adapter (LoRA) neon here."),
        ({"clip_skip": 3}, "clip_skip may be 1 to 2 with this model."),
        ({"scheduler": "lcm", "steps": 51}, "This scheduler refuses 51 steps"),
        ({"seeds": ()}, "at least one seed"),
        ({"width": 60}, "multiples of 8"),
    ],
)
def test_what_cannot_be_is_said(engine: SdxlEngine, request_for: Asking, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(EngineFault) as caught:
        engine.draw(request_for(**changes), go_on)
    assert text in caught.value.text
    assert not caught.value.retry
