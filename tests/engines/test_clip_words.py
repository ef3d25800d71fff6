"""CLIP's vocabulary is the one that SDXL was trained with: known sentences have their known numbers."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from minimon_server.engines.clip_words import MERGES, clip_words
from tests.single_file import tokenizer


# The numbers that transformers' own documents and tests give for openai/clip-vit-large-patch14.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]),
        ("a photo of a dog", [49406, 320, 1125, 539, 320, 1929, 49407]),
        ("", [49406, 49407]),
        ("!", [49406, 256, 49407]),
        ("A PHOTO  of\na cat", [49406, 320, 1125, 539, 320, 2368, 49407]),
    ],
)
def test_known_words_have_their_numbers(text: str, tokens: list[int]) -> None:
    assert tokenizer()(text)["input_ids"] == tokens


def test_the_vocabulary_is_whole_and_each_encoder_fills_up_as_it_was_trained() -> None:
    words, merges = clip_words()
    assert (len(words), len(merges)) == (49408, 48894)
    assert sorted(words.values()) == list(range(49408))
    assert (words["<|startoftext|>"], words["<|endoftext|>"], words["!"]) == (49406, 49407, 0)
    assert tokenizer().pad_token_id == 49407
    assert tokenizer("!").pad_token_id == 0
    assert tokenizer()("naïve 🦊 3d", add_special_tokens=False)["input_ids"]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / MERGES.name
    damaged.write_bytes(gzip.compress(gzip.decompress(MERGES.read_bytes()).replace(b"i n\n", b"i m\n", 1)))
    with pytest.raises(ValueError, match="damaged"):
        clip_words(damaged)
