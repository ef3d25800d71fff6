"""Trigger words: which of them stand in a prompt, and where those that are missing go."""

from __future__ import annotations

import pytest

from minimon_server.jobs.added_words import triggered


@pytest.mark.parametrize(
    ("prompt", "words", "standing", "added"),
    [
        ("a fox", (), (), "a fox"),
        ("a fox", ("neon",), (), "a fox, neon"),
        ("a NEON fox", ("neon",), ("neon",), "a NEON fox"),
        ("a (neon:1.2) fox", ("neon",), ("neon",), "a (neon:1.2) fox"),
        ("neonlight", ("neon",), (), "neonlight, neon"),
        ("a fox <lora:neon:1>", ("neon", "glow"), (), "a fox <lora:neon:1>, neon, glow"),
        ("a glow, ", ("neon", "glow", "neon", ""), ("glow",), "a glow, neon"),
        ("c++ style", ("c++",), ("c++",), "c++ style"),
    ],
)
def test_missing_words_come_last_and_once(
    prompt: str, words: tuple[str, ...], standing: tuple[str, ...], added: str
) -> None:
    assert triggered(prompt, words, add=False) == (prompt, standing)
    told, known = triggered(prompt, words, add=True)
    assert told == added
    assert known == (tuple(dict.fromkeys(word for word in words if word)))
