"""Image to image, repainting and the second pass: pixel by pixel what the library's own pipelines make of a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import (
    StableDiffusionXLImg2ImgPipeline,
)
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)
from PIL import Image

from minimon_server.engines import schedulers
from minimon_server.engines.messages import DrawRequest, EngineFault, Hires, Stopped
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.picture_files import pack
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines import every_scheduler
from tests.engines.beginnings import (
    CAT,
    CAT_IMAGE,
    FROM_CAT,
    INPUTS,
    KINDS,
    MASK,
    MASK_IMAGE,
    REPAINT,
    drawn,
    go_on,
    masked,
    noise,
    sent,
)
from tests.engines.listening import Heard
from tests.hostile_pictures import plain
from tests.small_pipeline import plainly_loaded, unet

Asking = Callable[..., DrawRequest]

WORDS = {"prompt": "a red cat", "negative_prompt": "blurry", "guidance_scale": 5.0}


def librarys(kind: Any, folder: Path) -> Any:
    """Return the library's own pipeline of another kind, fresh from a folder."""
    pipeline = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(("strength", "guidance"), [(0.3, 5.0), (0.75, 1.0), (1.0, 5.0)])
def test_a_picture_from_a_picture_is_the_librarys_own(
    engine: SdxlEngine, models: Path, request_for: Asking, strength: float, guidance: float
) -> None:
    ours = drawn(engine, request_for(**FROM_CAT | {"strength": strength, "guidance_scale": guidance}))
    theirs = librarys(StableDiffusionXLImg2ImgPipeline, models / "small")(
        **WORDS | {"guidance_scale": guidance},
        image=CAT_IMAGE,
        strength=strength,
        num_inference_steps=4,
        generator=noise(),
    )
    assert np.array_equal(ours, np.asarray(theirs.images[0]))
    assert not np.array_equal(ours, drawn(engine, request_for(steps=4, guidance_scale=guidance)))


@pytest.mark.parametrize("scheduler", every_scheduler.parameters())
def test_it_is_so_with_every_scheduler(engine: SdxlEngine, models: Path, request_for: Asking, scheduler: str) -> None:
    kind = schedulers.KINDS[scheduler]
    repainted = drawn(engine, request_for(**REPAINT, scheduler=scheduler))
    ours = drawn(engine, request_for(**FROM_CAT, scheduler=scheduler))
    settings: dict[str, Any] = {"image": CAT_IMAGE, "strength": 0.75, "num_inference_steps": 4}
    img2img = librarys(StableDiffusionXLImg2ImgPipeline, models / "small")
    img2img.scheduler = getattr(diffusers, kind.library_class).from_config(img2img.scheduler.config, **kind.options)
    theirs = img2img(**WORDS, **settings, generator=noise()).images[0]
    assert np.array_equal(ours, np.asarray(theirs))
    repaint = librarys(StableDiffusionXLInpaintPipeline, models / "small")
    repaint.scheduler = getattr(diffusers, kind.library_class).from_config(repaint.scheduler.config, **kind.options)
    theirs = repaint(**WORDS, **settings, mask_image=MASK_IMAGE, width=64, height=64, generator=noise()).images[0]
    inside = np.asarray(MASK_IMAGE) == 255
    assert np.array_equal(repainted[inside], np.asarray(theirs)[inside])


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_repainting_is_the_librarys_own_with_its_own_overlay(
    engine: SdxlEngine, models: Path, request_for: Asking, strength: float
) -> None:
    soft = MASK_IMAGE.copy()
    soft.paste(100, (0, 50, 64, 64))
    mask = sent(soft)
    asked = request_for(**REPAINT | {"strength": strength, "mask": mask.picture})
    ours = drawn(engine, asked, {CAT.picture.digest: CAT.png, mask.picture.digest: mask.png})
    pipeline = librarys(StableDiffusionXLInpaintPipeline, models / "small")
    theirs = pipeline(
        **WORDS,
        image=CAT_IMAGE,
        mask_image=soft,
        width=64,
        height=64,
        strength=strength,
        num_inference_steps=4,
        generator=noise(),
    ).images[0]
    overlaid = pipeline.image_processor.apply_overlay(soft, CAT_IMAGE, theirs)
    assert np.array_equal(ours, np.asarray(overlaid))
    assert np.array_equal(ours[np.asarray(soft) == 255], np.asarray(theirs)[np.asarray(soft) == 255])


def test_what_the_mask_leaves_out_comes_back_to_the_last_bit(engine: SdxlEngine, request_for: Asking) -> None:
    ours, given = drawn(engine, request_for(**REPAINT)), np.asarray(CAT_IMAGE)
    outside = np.asarray(MASK_IMAGE) == 0
    assert np.array_equal(ours[outside], given[outside])
    assert not np.array_equal(ours[~outside], given[~outside])
    black = sent(Image.new("L", (64, 64)))
    untouched = request_for(**REPAINT | {"mask": black.picture})
    assert np.array_equal(drawn(engine, untouched, INPUTS | {black.picture.digest: black.png}), given)


def test_a_picture_of_another_size_is_resized_as_the_library_does(
    engine: SdxlEngine, models: Path, request_for: Asking
) -> None:
    odd, mask = plain(50, 91), masked((10, 10, 40, 40), (50, 91))
    files = {one.picture.digest: one.png for one in (sent(odd), sent(mask))}
    asked = request_for(**REPAINT | {"init_image": sent(odd).picture, "mask": sent(mask).picture, "width": 96})
    ours = drawn(engine, asked, files)
    pipeline = librarys(StableDiffusionXLInpaintPipeline, models / "small")
    settings: dict[str, Any] = {"strength": 0.75, "num_inference_steps": 4, "width": 96, "height": 64}
    theirs = pipeline(**WORDS, **settings, image=odd, mask_image=mask, generator=noise()).images[0]
    whole = np.asarray(mask.resize((96, 64), Image.Resampling.LANCZOS)) == 255
    assert np.array_equal(ours[whole], np.asarray(theirs)[whole])
    resized = np.asarray(odd.resize((96, 64), Image.Resampling.LANCZOS))
    far = np.s_[:, 90:]
    assert np.array_equal(ours[far], resized[far])


@pytest.mark.parametrize("beginning", [{}, FROM_CAT])
def test_the_second_pass_is_the_librarys_two_calls(
    engine: SdxlEngine, models: Path, request_for: Asking, beginning: dict[str, Any]
) -> None:
    ours = drawn(engine, request_for(**beginning | {"steps": 4}, hires=Hires(128, 96, 5, 0.6)))
    generator = noise()
    img2img = librarys(StableDiffusionXLImg2ImgPipeline, models / "small")
    if beginning:
        begun = {"image": CAT_IMAGE, "strength": 0.75, "num_inference_steps": 4}
        first = img2img(**WORDS, **begun, generator=generator).images[0]
        img2img = librarys(StableDiffusionXLImg2ImgPipeline, models / "small")
    else:
        text = plainly_loaded(models / "small")
        first = text(**WORDS, width=64, height=64, num_inference_steps=4, generator=generator).images[0]
    larger = first.resize((128, 96), Image.Resampling.LANCZOS)
    theirs = img2img(**WORDS, image=larger, strength=0.6, num_inference_steps=5, generator=generator)
    assert np.array_equal(ours, np.asarray(theirs.images[0]))
    assert ours.shape == (96, 128, 3)


def test_a_model_made_for_repainting_does_that_and_nothing_else(
    models: Path, tmp_path: Path, request_for: Asking, quiet: Logger
) -> None:
    small = librarys(StableDiffusionXLInpaintPipeline, models / "small")
    torch.manual_seed(3)
    parts = small.components | {"unet": unet(in_channels=9), "image_encoder": None, "feature_extractor": None}
    StableDiffusionXLInpaintPipeline(**parts, add_watermarker=False).save_pretrained(tmp_path / "small")
    engine = SdxlEngine(ModelFolders(tmp_path, quiet), "cpu", quiet)
    ours = drawn(engine, request_for(**REPAINT))
    settings: dict[str, Any] = {"strength": 0.75, "num_inference_steps": 4, "width": 64, "height": 64}
    pipeline = librarys(StableDiffusionXLInpaintPipeline, tmp_path / "small")
    theirs = pipeline(**WORDS, **settings, image=CAT_IMAGE, mask_image=MASK_IMAGE, generator=noise()).images[0]
    inside = np.asarray(MASK_IMAGE) == 255
    assert np.array_equal(ours[inside], np.asarray(theirs)[inside])
    for asked in (FROM_CAT, {}):
        with pytest.raises(EngineFault, match="only repaints"):
            engine.draw(request_for(**asked), go_on, INPUTS)


@pytest.mark.parametrize("asked", KINDS.values(), ids=KINDS)
def test_a_seed_is_a_picture_alone_beside_others_and_after_anything(
    engine: SdxlEngine, request_for: Asking, asked: dict[str, Any]
) -> None:
    alone = drawn(engine, request_for(**asked))
    before = drawn(engine, request_for())
    beside = engine.draw(request_for(**asked, seeds=(3, 7, 9)), go_on, INPUTS).pictures
    assert beside[1].pixels == alone.tobytes()
    assert len({picture.pixels for picture in beside}) == 3
    assert np.array_equal(drawn(engine, request_for()), before)


@pytest.mark.parametrize(
    ("asked", "total"),
    [
        (FROM_CAT, 3),
        (FROM_CAT | {"strength": 0.3}, 1),
        (REPAINT | {"scheduler": "heun", "steps": 8}, 6),
        ({"steps": 3, "hires": Hires(96, 96, 4, 0.5)}, 5),
        (FROM_CAT | {"hires": Hires(96, 96, 10, 0.29)}, 5),
    ],
)
def test_progress_counts_the_steps_that_are_drawn(
    engine: SdxlEngine, request_for: Asking, asked: dict[str, Any], total: int
) -> None:
    heard = Heard()
    request = request_for(**asked, seeds=(1, 2))
    engine.draw(request, heard, INPUTS)
    said = [(one.current, one.total) for one in heard.of("drawing")]
    assert request.total_steps == 2 * total
    assert said[0] == (0, 2 * total)
    assert sorted(set(said)) == [(step, 2 * total) for step in range(2 * total + 1)]
    assert said == sorted(said)


@pytest.mark.parametrize("stop_at", [("drawing", 0), ("drawing", 2), ("drawing", 3), ("decoding", 0)])
@pytest.mark.parametrize("asked", KINDS.values(), ids=KINDS)
def test_a_stop_comes_within_a_step_and_leaves_no_trace(
    engine: SdxlEngine, request_for: Asking, asked: dict[str, Any], stop_at: tuple[str, int]
) -> None:
    right = drawn(engine, request_for(**asked))
    heard = Heard(stop_at)
    with pytest.raises(Stopped):
        engine.draw(request_for(**asked, scheduler="dpmpp_2m"), heard, INPUTS)
    assert (heard[-1].phase, heard[-1].current) == stop_at
    assert np.array_equal(drawn(engine, request_for(**asked)), right)


def test_the_parts_are_shared_and_stay_as_they_are(engine: SdxlEngine, request_for: Asking) -> None:
    drawn(engine, request_for())
    assert engine._model is not None
    vae = engine._model.pipeline.vae
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    held = sum(value.numel() for value in engine._model.pipeline.unet.parameters())
    for asked in KINDS.values():
        drawn(engine, request_for(**asked))
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert sum(value.numel() for value in engine._model.pipeline.unet.parameters()) == held
    assert vae.dtype == torch.float32


def test_what_a_picture_began_with_stands_inside_it(engine: SdxlEngine, request_for: Asking) -> None:
    (picture,) = engine.draw(request_for(**REPAINT), go_on, INPUTS).pictures
    opened = Image.open(io.BytesIO(pack(picture)))
    told = json.loads(opened.info["minimon"])
    assert (told["init_image"], told["mask"]) == (CAT.picture.digest, MASK.picture.digest)
    assert told["strength"] == 0.75
    assert "Denoising strength: 0.75" in opened.info["parameters"]
    (picture,) = engine.draw(request_for(**KINDS["twice"]), go_on).pictures
    opened = Image.open(io.BytesIO(pack(picture)))
    hires = {"width": 96, "height": 96, "steps": 4, "strength": 0.5}
    assert json.loads(opened.info["minimon"])["hires"] == hires
    said = "Denoising strength: 0.5, Hires resize: 96x96, Hires steps: 4, Hires upscaler: Lanczos"
    assert said in opened.info["parameters"]
