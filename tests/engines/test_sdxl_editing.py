"""Prompts that change between steps, drawn: beside the library's loop, told by hand what to draw at each evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.schedulers import KINDS
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]


@pytest.fixture(scope="module")
def engine(models: Path, quiet: Logger) -> SdxlEngine:
    return SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)


def drawn(engine: SdxlEngine, request: DrawRequest) -> Any:
    (picture,) = engine.draw(request, lambda _: True).pictures
    return np.frombuffer(picture.pixels, np.uint8).reshape(64, 64, 3)


@torch.no_grad()
def by_hand(models: Path, request: DrawRequest, texts: list[tuple[str, str]]) -> Any:
    """Return the library's picture when its loop is told these texts, prompt and negative, one pair an evaluation."""
    import diffusers

    pipeline = plainly_loaded(models / "small")
    if request.scheduler is not None:
        kind = KINDS[request.scheduler]
        pipeline.scheduler = getattr(diffusers, kind.library_class).from_config(
            pipeline.scheduler.config, **kind.options
        )
    said = [pipeline.encode_prompt(prompt, negative_prompt=negative or None) for prompt, negative in texts]

    def after(_: Any, index: int, __: Any, ___: Any) -> dict[str, torch.Tensor]:
        if index + 1 == len(said):
            return {}
        words, unwords, pooled, unpooled = said[index + 1]
        return {"prompt_embeds": torch.cat([unwords, words]), "add_text_embeds": torch.cat([unpooled, pooled])}

    first = said[0]
    (image,) = pipeline(
        prompt_embeds=first[0],
        negative_prompt_embeds=first[1],
        pooled_prompt_embeds=first[2],
        negative_pooled_prompt_embeds=first[3],
        width=64,
        height=64,
        num_inference_steps=request.steps,
        guidance_scale=5.0,
        generator=torch.Generator("cpu").manual_seed(7),
        callback_on_step_end=after,
    ).images
    return np.asarray(image)


# What 4 steps of each scheduler evaluate: one of second order looks twice at every step but the last.
ONCE = [1, 2, 3, 4]
TWICE = [1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize(("scheduler", "steps"), [(None, ONCE), ("dpmpp_2m", ONCE), ("heun", TWICE)])
@pytest.mark.parametrize(
    ("prompt", "negative", "texts"),
    [
        ("a [cat:dog:2]", "fog", [("a cat", "fog"), ("a cat", "fog"), ("a dog", "fog"), ("a dog", "fog")]),
        ("a [cat|dog]", "fog", [("a cat", "fog"), ("a dog", "fog")] * 2),
        ("a cat", "[fog:ice:0.75]", [("a cat", "fog")] * 3 + [("a cat", "ice")]),
        ("a [cat:dog:1]", "[fog:ice:3]", [("a cat", "fog"), ("a dog", "fog"), ("a dog", "fog"), ("a dog", "ice")]),
    ],
)
def test_a_prompt_that_changes_is_drawn_as_by_hand(
    engine: SdxlEngine,
    models: Path,
    request_for: Asking,
    scheduler: str | None,
    steps: list[int],
    prompt: str,
    negative: str,
    texts: list[tuple[str, str]],
) -> None:
    request = request_for(prompt=prompt, negative_prompt=negative, steps=4, scheduler=scheduler)
    assert np.array_equal(drawn(engine, request), by_hand(models, request, [texts[step - 1] for step in steps]))


@pytest.mark.parametrize(
    ("edited", "plain"), [("[a cat:x:1.0]", "a cat"), ("[x:a cat:0]", "a cat"), ("(a cat:1)", "a cat")]
)
def test_a_change_that_never_comes_changes_nothing(
    engine: SdxlEngine, request_for: Asking, edited: str, plain: str
) -> None:
    assert np.array_equal(drawn(engine, request_for(prompt=edited)), drawn(engine, request_for(prompt=plain)))


def test_an_edited_prompt_is_the_same_picture_alone_and_beside_others(engine: SdxlEngine, request_for: Asking) -> None:
    request = request_for(prompt="a [cat:(dog:1.3):0.5] BREAK [red|blue]", steps=4)
    three = engine.draw(request_for(prompt=request.prompt, steps=4, seeds=(6, 7, 8)), lambda _: True).pictures
    assert np.array_equal(np.frombuffer(three[1].pixels, np.uint8).reshape(64, 64, 3), drawn(engine, request))
    assert (three[1].metadata["prompt_tokens"], three[1].metadata["prompt_chunks"]) == (8, 2)


def test_without_guidance_only_the_prompt_changes(engine: SdxlEngine, request_for: Asking) -> None:
    request = request_for(prompt="a [cat:dog:1]", negative_prompt="[fog:ice:2]", guidance_scale=0.0)
    assert not np.array_equal(drawn(engine, request), drawn(engine, request_for(prompt="a cat", guidance_scale=0.0)))
    (picture,) = engine.draw(request, lambda _: True).pictures
    assert picture.metadata["ignored"] == ["negative_prompt: guidance_scale is 1 or less"]
    assert "negative_tokens" not in picture.metadata
