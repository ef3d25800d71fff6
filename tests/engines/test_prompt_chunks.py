"""Chunks of tokens: full, ended by commas as A1111 does, parted by BREAK, and never short of a token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.engines.prompt_chunks import Chunk, Cutter
from minimon_server.engines.prompt_syntax import weigh
from minimon_server.engines.prompt_tokens import Tokens
from minimon_server.engines.textual_inversion import Embedding, Find, nothing_trained
from tests.small_pipeline import tokenizer

ROOM = 75


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a tokenizer that has one token for every letter."""
    return tokenizer(tmp_path_factory.mktemp("words") / "words")


def cut(words: Any, text: str, find: Find = nothing_trained) -> list[Chunk]:
    sections, tokens = weigh(text).sections, Tokens(words)
    tokens.learn(piece.text for section in sections for piece in section)
    return Cutter(tokens, ROOM, find).cut(sections)


def sizes(words: Any, text: str) -> list[int]:
    return [len(chunk.ids) for chunk in cut(words, text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0]),
        ("a" * 75, [75]),
        ("a" * 76, [75, 1]),
        # After a comma at the 55th place of a chunk, 20 before its end, and not at the 54th.
        ("a" * 55 + "," + "b" * 30, [56, 30]),
        ("a" * 54 + "," + "b" * 30, [75, 10]),
        ("a" * 60 + "," + "b" * 5 + "," + "c" * 20, [67, 20]),
        ("a" * 60 + "," + "b" * 14, [75]),
        # A comma that ends a chunk ends it; one that follows a full chunk begins the next.
        ("a" * 74 + "," + "b" * 10, [75, 10]),
        ("a" * 75 + "," + "b" * 10, [75, 11]),
        # A comma counts in its own chunk alone.
        ("a" * 60 + "," + "b" * 75 + "c" * 20, [61, 75, 20]),
        ("a" * 70 + ", BREAK " + "b" * 80, [71, 75, 5]),
        ("a BREAK b", [1, 1]),
        ("BREAK", [0]),
        ("BREAK a", [0, 1]),
        ("a BREAK BREAK b BREAK", [1, 0, 1]),
    ],
)
def test_where_a_chunk_ends(words: Any, text: str, expected: list[int]) -> None:
    assert sizes(words, text) == expected


def test_weights_go_with_their_tokens(words: Any) -> None:
    first, second = cut(words, "(" + "a" * 60 + ":1.3)," + "[" + "b" * 30 + "]")
    assert first.weights == [1.3] * 60 + [1.0]
    assert second.weights == [1 / 1.1] * 30


SCRAPS = st.sampled_from(["cat", "a " * 40, ",", ", ", "(", ")", "[", "]", ":1.2)", "\\(", " BREAK ", "❤", "x" * 70])


@given(text=st.lists(SCRAPS, max_size=12).map("".join))
def test_no_token_is_lost(words: Any, text: str) -> None:
    found = cut(words, text)
    texts = [piece.text for section in weigh(text).sections for piece in section]
    expected = [token for ids in words(texts, add_special_tokens=False)["input_ids"] for token in ids]
    assert [token for chunk in found for token in chunk.ids] == expected
    assert all(len(chunk.ids) == len(chunk.weights) <= ROOM for chunk in found)


def trained(words: Any, name: str, count: int) -> Find:
    (ids,) = words([name], add_special_tokens=False)["input_ids"]
    word = Embedding(name, (torch.ones(count, 2), torch.ones(count, 2)), "d")
    return lambda tokens, at: (word, len(ids)) if tokens[at : at + len(ids)] == ids else None


def places(chunks: list[Chunk]) -> list[list[int]]:
    return [[at for at, _ in chunk.words] for chunk in chunks]


def test_a_trained_word_is_never_parted(words: Any) -> None:
    find = trained(words, "star", 6)
    assert [len(chunk.ids) for chunk in cut(words, "a star b", find)] == [8]
    assert places(cut(words, "a star b star", find)) == [[1, 8]]
    there = cut(words, "a" * 70 + " star b", find)
    assert ([len(chunk.ids) for chunk in there], places(there)) == ([70, 7], [[], [0]])
    assert cut(words, "a" * 69 + " (star:1.2)", find)[0].weights[-6:] == [1.2] * 6


def test_a_trained_word_moves_with_what_follows_a_comma(words: Any) -> None:
    there = cut(words, "a" * 60 + ", star " + "b" * 20, trained(words, "star", 6))
    assert [len(chunk.ids) for chunk in there] == [61, 26]
    assert places(there) == [[], [0]]
