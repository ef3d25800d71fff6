"""Texts as tokens: one reading for tokenizers that read alike, and each always gets exactly its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from minimon_server.engines.prompt_chunks import Cutter
from minimon_server.engines.prompt_syntax import weigh
from minimon_server.engines.prompt_tokens import Tokens, tokens_of
from minimon_server.engines.textual_inversion import nothing_trained
from tests.small_pipeline import tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("words") / "words"


@pytest.fixture(scope="module")
def first(folder: Path) -> Any:
    return tokenizer(folder)


@pytest.fixture(scope="module")
def second(first: Any, folder: Path) -> Any:
    """Return the same vocabulary with "!" to fill up with, as SDXL's second tokenizer has it."""
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="!")


def alone(words: Any, text: str) -> list[int]:
    found: list[int] = words([text], add_special_tokens=False, truncation=False, verbose=False)["input_ids"][0]
    return found


def test_a_text_is_read_once_for_both(first: Any, second: Any) -> None:
    one, other = tokens_of([first, second])
    for tokens in (one, other):
        tokens.learn(["a cat", "wow! a cat"])
    assert other.of("a cat") is one.of("a cat")
    assert other.of("wow! a cat") == alone(second, "wow! a cat") != alone(first, "wow! a cat")
    assert len(set(tokens_of([first, first]))) == 1


@given(text=st.text(alphabet=st.sampled_from("ab !,.<|>éÀ1\n\\()'’🐉startofxnd"), max_size=40))
def test_each_tokenizer_gets_its_own_reading(first: Any, second: Any, text: str) -> None:
    both = tokens_of([first, second])
    for tokens, words in zip(both, (first, second), strict=True):
        tokens.learn([text])
        assert tokens.of(text) == alone(words, text)


def test_another_vocabulary_is_read_apart(first: Any, tmp_path: Path) -> None:
    tokenizer(tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps({**vocabulary, "ca": len(vocabulary)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nc a\n")
    other = CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=77)
    both = tokens_of([first, other])
    for tokens in both:
        tokens.learn(["cat"])
    assert [len(tokens.of("cat")) for tokens in both] == [3, 2]


def test_a_word_that_is_looked_for_loosely_is_read_apart(first: Any, folder: Path) -> None:
    """A text may hold such a word without holding its letters as they are written: nothing is shared."""
    loose = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    loose.add_tokens(["Dragon"])  # looked for in small letters, as the text is read
    both = tokens_of([first, loose])
    for tokens in both:
        tokens.learn(["a DRAGON"])
    assert both[1].of("a DRAGON") == alone(loose, "a DRAGON") != both[0].of("a DRAGON")


def test_chunks_are_shared_where_nothing_differs(first: Any, second: Any) -> None:
    one, other = (Cutter(tokens, 75, nothing_trained) for tokens in tokens_of([first, second]))
    for text, alike in (("a (cat:1.2), b", True), ("a (cat!:1.2), b", False)):
        sections = weigh(text).sections
        for cutter in (one, other):
            cutter.tokens.learn(piece.text for section in sections for piece in section)
        assert other.cuts_like(one, sections) is alike
    sections = weigh("a").sections
    small = Cutter(Tokens(first), 10, nothing_trained)
    small.tokens.learn(["a"])
    one.tokens.learn(["a"])
    assert not small.cuts_like(one, sections)
