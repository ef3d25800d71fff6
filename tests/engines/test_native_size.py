"""A model of one size: the same creature at every size that is asked for, at the price of one, and told so."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from minimon_server.engines.messages import DrawRequest, EngineFault, Hires
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.native_size import Canvas
from minimon_server.engines.picture_files import pack
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.beginnings import drawn, go_on, masked, sent
from tests.engines.listening import Heard
from tests.hostile_pictures import plain

Asking = Callable[..., DrawRequest]
SIDE = 64


@pytest.fixture(scope="module")
def folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder with `small`, which draws any size, and the same as `native`, which draws at 64."""
    root = tmp_path_factory.mktemp("native")
    for name in ("small", "native"):
        shutil.copytree(models / "small", root / name)
    (root / "native" / "minimon.json").write_text(json.dumps({"native_size": SIDE}))
    return root


@pytest.fixture(scope="module")
def engine(folder: Path, quiet: Logger) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(folder, quiet), "cpu", quiet)
    yield engine
    engine.close()


def enlarged(pixels: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def test_at_its_own_size_it_is_a_model_like_any_other(engine: SdxlEngine, request_for: Asking) -> None:
    (plain,) = engine.draw(request_for(), go_on).pictures
    (native,) = engine.draw(request_for(model="native"), go_on).pictures
    assert native.pixels == plain.pixels
    assert "drawn_at" not in native.metadata
    assert "Drawn at" not in Image.open(io.BytesIO(pack(native))).info["parameters"]


@pytest.mark.parametrize("side", [32, 72, 256])
def test_a_larger_and_a_smaller_picture_are_the_same_one_resampled(
    engine: SdxlEngine, request_for: Asking, side: int
) -> None:
    own = drawn(engine, request_for())
    (picture,) = engine.draw(request_for(model="native", width=side, height=side), go_on).pictures
    assert (picture.width, picture.height) == (side, side)
    assert picture.pixels == enlarged(own, side).tobytes()
    opened = Image.open(io.BytesIO(pack(picture)))
    assert opened.size == (side, side)
    told = json.loads(opened.info["minimon"])
    assert (told["width"], told["height"], told["drawn_at"]) == (side, side, "64x64")
    assert f"Size: {side}x{side}, Drawn at: 64x64, Model hash: " in opened.info["parameters"]
    free = drawn(engine, request_for(width=side, height=side))
    assert picture.pixels != free.tobytes()  # what it would be if it were drawn at this size


@pytest.mark.parametrize(("width", "height"), [(256, 96), (96, 256), (64, 32)])
def test_what_is_not_square_is_the_middle_of_the_square(
    engine: SdxlEngine, request_for: Asking, width: int, height: int
) -> None:
    side = max(width, height)
    square = enlarged(drawn(engine, request_for(model="native")), side)
    left, top = (side - width) // 2, (side - height) // 2
    found = drawn(engine, request_for(model="native", width=width, height=height))
    assert np.array_equal(found, square[top : top + height, left : left + width])


def test_several_seeds_are_each_the_picture_that_it_is_alone(engine: SdxlEngine, request_for: Asking) -> None:
    large = {"model": "native", "width": 128, "height": 128}
    beside = engine.draw(request_for(**large, seeds=(3, 7, 9)), go_on).pictures
    assert beside[1].pixels == drawn(engine, request_for(**large)).tobytes()
    assert len({picture.pixels for picture in beside}) == 3


def test_a_large_picture_needs_the_memory_of_the_native_one(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimon_server.engines.sdxl_ladder.free_bytes", lambda _: 2 * 2**20)
    (picture,) = engine.draw(request_for(model="native", width=256, height=256), go_on).pictures
    assert (picture.width, picture.metadata["rungs"]) == (256, [])
    with pytest.raises(EngineFault, match="needs at least 5 MiB for 256x256 pixels"):
        engine.draw(request_for(width=256, height=256), go_on)


def test_a_second_pass_is_refused_before_anything_is_loaded(folder: Path, request_for: Asking, quiet: Logger) -> None:
    engine = SdxlEngine(ModelFolders(folder, quiet), "cpu", quiet)
    with pytest.raises(EngineFault, match=r"always draws at 64x64: there is no second pass \(hires\)"):
        engine.draw(request_for(model="native", hires=Hires(128, 128, 3, 0.5)), go_on)
    assert engine.loaded is None


def test_a_picture_to_begin_with_is_made_native_first(engine: SdxlEngine, request_for: Asking) -> None:
    cat = sent(plain(128, 128))
    begun = {"init_image": cat.picture, "strength": 0.75, "steps": 4}
    files = {cat.picture.digest: cat.png}
    own = drawn(engine, request_for(**begun), files)
    found = drawn(engine, request_for(**begun, model="native", width=128, height=128), files)
    assert np.array_equal(found, enlarged(own, 128))


@pytest.mark.parametrize(("width", "height"), [(128, 128), (128, 96)])
def test_what_a_mask_leaves_out_comes_back_to_the_last_bit(
    engine: SdxlEngine, request_for: Asking, width: int, height: int
) -> None:
    image, mask = plain(width, height), masked((32, 16, 96, 80), (width, height))
    given = [sent(image), sent(mask)]
    files = {one.picture.digest: one.png for one in given}
    begun = {"init_image": given[0].picture, "mask": given[1].picture, "strength": 0.75, "steps": 4}
    found = drawn(engine, request_for(**begun, model="native", width=width, height=height), files)
    outside = np.asarray(mask) == 0
    assert np.array_equal(found[outside], np.asarray(image)[outside])
    assert not np.array_equal(found[~outside], np.asarray(image)[~outside])


def test_under_a_white_mask_all_is_the_native_drawing_resampled(engine: SdxlEngine, request_for: Asking) -> None:
    given = [sent(plain(128, 128)), sent(masked((0, 0, 128, 128), (128, 128)))]
    files = {one.picture.digest: one.png for one in given}
    begun = {"init_image": given[0].picture, "mask": given[1].picture, "strength": 0.75, "steps": 4}
    own = drawn(engine, request_for(**begun), files)
    found = drawn(engine, request_for(**begun, model="native", width=128, height=128), files)
    assert np.array_equal(found, enlarged(own, 128))


@pytest.mark.parametrize(("width", "height", "shown"), [(128, 128, (16, 16)), (128, 64, (16, 8)), (64, 1024, (1, 16))])
def test_previews_show_what_will_be_there(
    engine: SdxlEngine, request_for: Asking, width: int, height: int, shown: tuple[int, int]
) -> None:
    heard = Heard()
    engine.draw(request_for(model="native", width=width, height=height), heard)
    previews = [said.preview for said in heard if said.preview]
    assert previews
    assert {Image.open(io.BytesIO(preview)).size for preview in previews} == {shown}


def canvas(width: int, height: int) -> Canvas:
    return Canvas(DrawRequest("native", "", "", (1,), width, height, 1, 1.0), SIDE)


def test_what_is_fitted_lies_where_it_will_be_shown() -> None:
    ramp = np.add.outer(np.linspace(0, 100, 64), np.linspace(0, 150, 256)).astype(np.uint8)
    image = Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=2))
    wide = canvas(256, 64)
    fitted = wide.fitted(image)
    assert fitted is not None
    assert fitted.size == (SIDE, SIDE)
    away = np.abs(wide.finished(np.asarray(fitted)).astype(int) - np.asarray(image).astype(int))
    assert away.mean() < 2
    beyond = np.asarray(fitted).astype(int)
    assert np.abs(beyond[0] - beyond[20]).max() <= 4  # the edge's own pixels, up to the top
    assert wide.fitted(None) is None


def test_latents_are_shown_from_their_middle() -> None:
    latents = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert canvas(64, 64).seen(latents) is latents
    assert canvas(128, 64).seen(latents).flatten().tolist() == list(range(16, 48))
    assert canvas(64, 128).seen(latents)[0, 0, 0].tolist() == [2, 3, 4, 5]
