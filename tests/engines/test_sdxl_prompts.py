"""Prompts become embeddings: the library's own for short ones, and not a word is lost of long ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.messages import EngineFault
from minimon_server.engines.sdxl_prompts import encode
from tests.small_pipeline import plainly_loaded

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(count: int) -> str:
    """Return a prompt of `count` tokens: the small tokenizer has one for every letter."""
    return " ".join(LETTERS[index * 7 % 26] for index in range(count))


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    return plainly_loaded(models / "small")


@torch.no_grad()
def plainly(pipeline: Any, prompt: str, negative: str | None = None, clip_skip: int | None = None) -> Any:
    return pipeline.encode_prompt(prompt, negative_prompt=negative, clip_skip=clip_skip)


@pytest.mark.parametrize("prompt", ["", "a red cat, très joli ❤", words(74), words(75)])
@pytest.mark.parametrize("negative", ["", "blurry"])
def test_a_short_prompt_is_encoded_as_the_library_does(pipeline: Any, prompt: str, negative: str) -> None:
    ours = encode(pipeline, prompt, negative, None)
    theirs = plainly(pipeline, prompt, negative or None)
    for one, other in zip((ours.prompt, ours.negative, ours.pooled, ours.negative_pooled), theirs, strict=True):
        assert one is not None
        assert torch.equal(one, other)
    assert ours.amounts["prompt_chunks"] == 1
    assert ours.ignored == ()


def test_no_guidance_needs_no_negative(pipeline: Any) -> None:
    assert encode(pipeline, "a cat", None, None).negative is None


@pytest.mark.parametrize(("asked", "librarys"), [(None, None), (2, None), (2, 0), (1, -1)])
def test_clip_skip_counts_as_users_do(pipeline: Any, asked: int | None, librarys: int | None) -> None:
    ours = encode(pipeline, "a cat", "blurry", asked)
    # The library counts from the other side, and for the prompt alone: A1111 counts for both.
    for text, found in (("a cat", ours.prompt), ("blurry", ours.negative)):
        assert found is not None
        assert torch.equal(found, plainly(pipeline, text, "", librarys)[0])


def test_clip_skip_beyond_the_layers_is_said(pipeline: Any) -> None:
    for wrong in (0, 3, -1):
        with pytest.raises(EngineFault, match="clip_skip may be 1 to 2"):
            encode(pipeline, "a cat", None, wrong)


def test_a_long_prompt_is_its_chunks_end_to_end(pipeline: Any) -> None:
    prompt = words(160)
    ours = encode(pipeline, prompt, "blurry", None)
    assert ours.amounts == {"prompt_tokens": 160, "prompt_chunks": 3, "negative_tokens": 6, "negative_chunks": 1}
    marks = prompt.split()
    chunks = [plainly(pipeline, " ".join(marks[at : at + 75]), "blurry") for at in (0, 75, 150)]
    assert torch.equal(ours.prompt, torch.cat([chunk[0] for chunk in chunks], dim=1))
    assert torch.equal(ours.pooled, chunks[0][2])
    # The shorter text is filled up with empty chunks, and stays itself.
    empty = plainly(pipeline, "")[0]
    assert ours.negative is not None
    assert torch.equal(ours.negative, torch.cat([chunks[0][1], empty, empty], dim=1))


def test_a_long_negative_prompt_is_not_cut_either(pipeline: Any) -> None:
    ours = encode(pipeline, "a cat", words(80), None)
    assert ours.amounts == {"prompt_tokens": 4, "prompt_chunks": 1, "negative_tokens": 80, "negative_chunks": 2}
    assert ours.negative is not None
    assert ours.negative.shape == ours.prompt.shape
    other = encode(pipeline, "a cat", words(79) + " z", None)
    assert other.negative is not None
    assert not torch.equal(ours.negative, other.negative)
    assert torch.equal(ours.prompt, other.prompt)


def test_no_negative_is_zeros_only_where_the_model_says_so(pipeline: Any) -> None:
    ours = encode(pipeline, words(80), "", None)
    assert ours.negative is not None
    assert not ours.negative.any()
    pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    try:
        ours = encode(pipeline, "a cat", "", None)
        assert ours.negative is not None
        assert torch.equal(ours.negative, plainly(pipeline, "a cat")[1])
    finally:
        pipeline.register_to_config(force_zeros_for_empty_prompt=True)
