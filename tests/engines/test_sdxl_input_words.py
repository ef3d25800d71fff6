"""Prompts that change between steps, over pictures and second passes: counted in the steps that are drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import (
    StableDiffusionXLImg2ImgPipeline,
)
from PIL import Image

from minimon_server.engines.messages import DrawRequest, Hires
from minimon_server.engines.sdxl import SdxlEngine
from tests.engines.beginnings import CAT_IMAGE, FROM_CAT, drawn, noise
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]


@torch.no_grad()
def by_hand(pipeline: Any, texts: list[str], **told: Any) -> Any:
    """Return what a pipeline of the library draws when it is told another text at each step."""
    said = [pipeline.encode_prompt(text, negative_prompt="blurry") for text in texts]

    def after(_: Any, index: int, __: Any, ___: Any) -> dict[str, torch.Tensor]:
        if index + 1 == len(said):
            return {}
        words, unwords, pooled, unpooled = said[index + 1]
        return {"prompt_embeds": torch.cat([unwords, words]), "add_text_embeds": torch.cat([unpooled, pooled])}

    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    first = dict(zip(names, said[0], strict=True))
    return pipeline(**first, **told, guidance_scale=5.0, callback_on_step_end=after).images[0]


def img2img(models: Path) -> Any:
    pipeline: Any = StableDiffusionXLImg2ImgPipeline.from_pretrained(
        models / "small", use_safetensors=True, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_a_prompt_changes_within_the_steps_that_are_drawn(
    engine: SdxlEngine, models: Path, request_for: Asking
) -> None:
    asked = FROM_CAT | {"strength": 0.5, "steps": 8}  # four are drawn
    ours = drawn(engine, request_for(**asked, prompt="a [cat:dog:0.5]"))
    told = {"image": CAT_IMAGE, "strength": 0.5, "num_inference_steps": 8, "generator": noise()}
    assert np.array_equal(ours, np.asarray(by_hand(img2img(models), ["a cat", "a cat", "a dog", "a dog"], **told)))


def test_the_second_pass_is_told_what_the_first_one_ended_with(
    engine: SdxlEngine, models: Path, request_for: Asking
) -> None:
    ours = drawn(engine, request_for(prompt="a [cat:dog:2]", steps=4, hires=Hires(96, 96, 6, 0.5)))
    generator = noise()
    told: dict[str, Any] = {"width": 64, "height": 64, "num_inference_steps": 4, "generator": generator}
    first = by_hand(plainly_loaded(models / "small"), ["a cat", "a cat", "a dog", "a dog"], **told)
    larger = first.resize((96, 96), Image.Resampling.LANCZOS)
    again = {"image": larger, "strength": 0.5, "num_inference_steps": 6, "generator": generator}
    assert np.array_equal(ours, np.asarray(by_hand(img2img(models), ["a dog"] * 3, **again)))
