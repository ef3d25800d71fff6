"""Tags in a prompt: which are read, what they say, and what is left of the words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.engines.prompt_tags import Tag, tags, without_tags


@pytest.mark.parametrize(
    ("written", "kind", "name", "weight"),
    [
        ("<lora:neon:0.8>", "lora", "neon", 0.8),
        ("<lora:neon>", "lora", "neon", 1.0),
        ("<LoRA:neon style v2 : -.5 >", "lora", "neon style v2", -0.5),
        ("<lyco:neon:1e-1>", "lyco", "neon", 0.1),
        ("<lora:neon:0.8:0.80>", "lora", "neon", 0.8),
        ("<lora:neon:te=0.8:unet=0.8>", "lora", "neon", 0.8),
        ("<lora:neon:0.8:0.5>", "lora", "neon", None),
        ("<lora:neon:0.8:0.8:4>", "lora", "neon", None),
        ("<lora:neon:much>", "lora", "neon", None),
        ("<lora:neon:inf>", "lora", "neon", None),
        ("<lora:neon:1e999>", "lora", "neon", None),
        ("<lora:neon:>", "lora", "neon", None),
        ("<hypernet:neon:1>", "hypernet", "neon", 1.0),
    ],
)
def test_a_tag_says_its_name_and_weight(written: str, kind: str, name: str, weight: float | None) -> None:
    assert tags(f"a cat, {written} in a hat") == (Tag(written, kind, name, weight),)
    assert without_tags(f"a cat, {written} in a hat") == "a cat,  in a hat"


@pytest.mark.parametrize("text", ["<lora>", "<lora:>", "<lora:a", "<loraa:b>", "<wild:card>", "<3", "a < b > c", "<b>"])
def test_what_is_no_tag_is_words(text: str) -> None:
    assert tags(text) == ()
    assert without_tags(text) == text


@given(
    st.lists(st.sampled_from(["<lora:", ">", ":", "<", "0.5", "cat", "<lora:x>"]), max_size=30).map("".join) | st.text()
)
def test_what_is_no_tag_stays(text: str) -> None:
    kept, rest = "", text
    for tag in tags(text):
        before, found, rest = rest.partition(tag.written)
        assert found
        kept += before
    assert without_tags(text) == kept + rest


def test_the_longest_prompt_of_beginnings_is_read() -> None:
    assert tags(("<lora:" * 32_768)[:32_768]) == ()
