"""Weights and edited prompts as embeddings: beside A1111's rule, written down again from the encoders' own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimon_server.engines.messages import Stopped
from minimon_server.engines.prompt_schedule import schedule
from minimon_server.engines.sdxl_prompts import encode
from tests.small_pipeline import plainly_loaded

# A chunk as letters with their weights: the small tokenizer has one token for every letter.
Letters = list[tuple[str, float]]


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    return plainly_loaded(models / "small")


def letters(*pieces: tuple[str, float]) -> Letters:
    return [(letter, weight) for text, weight in pieces for letter in text if letter != " "]


@torch.no_grad()
def by_the_rule(pipeline: Any, texts: list[str], weights: list[list[float]]) -> torch.Tensor:
    """Return one chunk of a batch of texts as modules/sd_emphasis.py says: times the weights, then the mean again."""
    parts = []
    for tokenizer, encoder in (
        (pipeline.tokenizer, pipeline.text_encoder),
        (pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        rows = [
            encoder(
                tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids,
                output_hidden_states=True,
            ).hidden_states[-2]
            for text in texts
        ]
        z = torch.cat(rows)
        multipliers = torch.ones(len(texts), 77)
        for row, known in zip(multipliers, weights, strict=True):
            row[1 : 1 + len(known)] = torch.tensor(known)
        original_mean = z.mean()
        z = z * multipliers.reshape((*multipliers.shape, 1)).expand(z.shape)
        new_mean = z.mean()
        parts.append(z * (original_mean / new_mean))
    return torch.cat(parts, dim=-1)


WORKED: dict[str, tuple[str, Letters]] = {
    "(word:1.3)": ("word", letters(("word", 1.3))),
    "a ((word)) b": ("a word b", letters(("a", 1.0), ("word", 1.1 * 1.1), ("b", 1.0))),
    "a [word] b": ("a word b", letters(("a", 1.0), ("word", 1 / 1.1), ("b", 1.0))),
    r"a \(word\) b(c:0)": ("a (word) b c", letters(("a(word)b", 1.0), ("c", 0.0))),
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": (
        "a house on a hill, sun, sky.",
        letters(
            ("a", 1.0),
            ("house", 1.5730000000000004),
            ("on", 1.0),
            ("a", 1.1),
            ("hill", 0.55),
            (", sun,", 1.1),
            ("sky", 1.4641000000000006),
            (".", 1.1),
        ),
    ),
    "(word:-1) b": ("word b", letters(("word", -1.0), ("b", 1.0))),
}


@pytest.mark.parametrize("prompt", WORKED)
def test_a_weighed_prompt_is_a1111s(pipeline: Any, prompt: str) -> None:
    plain, known = WORKED[prompt]
    assert "".join(letter for letter, _ in known) == plain.replace(" ", "")
    ours = encode(pipeline, prompt, prompt, None)
    expected = by_the_rule(pipeline, [plain], [[weight for _, weight in known]])
    assert torch.equal(ours.prompt, expected)
    assert ours.negative is not None
    assert torch.equal(ours.negative, expected)
    # The pooled embedding knows no weights.
    with torch.no_grad():
        assert torch.equal(ours.pooled, pipeline.encode_prompt(plain)[2])


def test_each_chunk_has_its_own_mean(pipeline: Any) -> None:
    ours = encode(pipeline, "a cat BREAK (a hat:1.4) b BREAK c", None, None)
    plain = [encode(pipeline, text, None, None).prompt for text in ("a cat", "c")]
    weighed = by_the_rule(pipeline, ["a hat b"], [[1.4] * 4 + [1.0]])
    assert torch.equal(ours.prompt, torch.cat([plain[0], weighed, plain[1]], dim=1))
    assert torch.equal(ours.pooled, encode(pipeline, "a cat", None, None).pooled)


def test_weights_of_one_are_no_weights(pipeline: Any) -> None:
    assert torch.equal(encode(pipeline, "a (cat:1.0)", None, None).prompt, encode(pipeline, "a cat", None, None).prompt)


def test_the_texts_of_a_schedule_share_a_mean_as_one_batch(pipeline: Any) -> None:
    prompt = "a (cat:1.4) [in|on|by]"
    ours = encode(pipeline, prompt, None, None, steps=5)
    said = [text for _, text in schedule(prompt, 5).entries]
    assert said == [f"a (cat:1.4) {word}" for word in ("in", "on", "by", "in", "on")]
    expected = by_the_rule(
        pipeline, [f"a cat {word}" for word in ("in", "on", "by", "in", "on")], [[1.0] + [1.4] * 3] * 5
    )
    for step in range(5):
        assert torch.allclose(ours.asked.at(step + 1).words[0], expected[step], rtol=1e-5, atol=1e-6)


def test_what_changes_between_steps_is_what_the_loop_is_told(pipeline: Any) -> None:
    ours = encode(pipeline, "a [cat:dog:2]", "[fog::1]", None, steps=4)
    cat, dog, fog = (encode(pipeline, text, None, None) for text in ("a cat", "a dog", "fog"))
    none = encode(pipeline, "", None, None)  # in an edited prompt nothing is the encoded nothing, as in A1111
    assert torch.equal(ours.prompt, cat.prompt)
    assert ours.negative is not None
    assert torch.equal(ours.negative, fog.prompt)
    assert ours.change(3, 4) == ours.change(2, 2) == {}
    second = ours.change(1, 2)
    assert torch.equal(second["prompt_embeds"], torch.cat([none.prompt, cat.prompt]))
    assert torch.equal(second["add_text_embeds"], torch.cat([none.pooled, cat.pooled]))
    third = ours.change(2, 3)
    assert torch.equal(third["prompt_embeds"], torch.cat([none.prompt, dog.prompt]))
    alone = encode(pipeline, "a [cat:dog:2]", None, None, steps=4).change(2, 3)
    assert torch.equal(alone["prompt_embeds"], dog.prompt)


def test_entries_of_different_length_are_filled_up(pipeline: Any) -> None:
    ours = encode(pipeline, "a [" + "b" * 90 + "::1]", "c BREAK d BREAK e", None, steps=2)
    assert ours.amounts == {"prompt_tokens": 91, "prompt_chunks": 2, "negative_tokens": 3, "negative_chunks": 3}
    empty = encode(pipeline, "", None, None).prompt
    short = encode(pipeline, "a", None, None).prompt
    assert torch.equal(ours.asked.at(2).words, torch.cat([short, empty, empty], dim=1))
    assert ours.prompt.shape == ours.asked.at(2).words.shape


def test_tags_are_no_words_in_the_prompt_and_words_in_the_negative(pipeline: Any) -> None:
    ours = encode(pipeline, "a cat<lora:neon:0.8>", "fog <lora:ink:1>", None)
    assert torch.equal(ours.prompt, encode(pipeline, "a cat", None, None).prompt)
    assert ours.ignored == ("negative_prompt: <lora:ink:1> is words there: LoRAs stand in the prompt",)
    assert ours.amounts["negative_tokens"] == len("fog<lora:ink:1>")


def test_what_has_no_effect_is_told(pipeline: Any) -> None:
    ours = encode(pipeline, "(a:99999)", "(" * 65 + "b", None)
    assert ours.ignored == (
        "prompt: weights beyond 10000",
        "negative_prompt: brackets nested deeper than 64",
    )
    assert torch.isfinite(ours.prompt).all()


def test_what_is_told_has_an_end(pipeline: Any) -> None:
    many = encode(pipeline, "", "".join(f"<lora:{number}>" for number in range(100)), None)
    assert len(many.ignored) == 17
    assert many.ignored[15].startswith("negative_prompt: <lora:15> is words")
    assert many.ignored[16] == "and more"
    (long,) = encode(pipeline, "", f"<lora:{'x' * 500}>", None).ignored
    assert len(long) == 200


SCRAPS = st.sampled_from(
    ["(", ")", "[", "]", ":", "|", "\\", " cat", ":1.3)", ":0.5]", ":-9e9)", "<lora:x>", " BREAK ", ","]
)


@settings(max_examples=40, deadline=None)
@given(prompt=st.lists(SCRAPS, max_size=20).map("".join) | st.text(max_size=40), steps=st.integers(1, 4))
def test_any_prompt_can_be_encoded(pipeline: Any, prompt: str, steps: int) -> None:
    ours = encode(pipeline, prompt, prompt, None, steps=steps)
    for step in range(1, steps + 1):
        said, unsaid = ours.asked.at(step), ours.avoided.at(step) if ours.avoided else None
        assert unsaid is not None
        assert torch.isfinite(said.words).all()
        assert said.words.shape == unsaid.words.shape == ours.prompt.shape


def test_a_long_prompt_can_be_stopped_while_it_is_encoded(pipeline: Any) -> None:
    heard: list[tuple[int, int]] = []

    def tell(done: int, count: int) -> None:
        heard.append((done, count))
        if done >= 16:
            raise Stopped

    with pytest.raises(Stopped):
        encode(pipeline, " BREAK ".join("abcdefghijklmnop"), None, None, tell=tell)
    assert heard == [(8, 32), (16, 32)]
