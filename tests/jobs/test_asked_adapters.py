"""`<lora:name:0.8>` in a prompt is an entry of `loras`, with the same limits; what is wrong is told with the tag."""

from __future__ import annotations

from typing import Any

import pytest

from minimon_server.engines.messages import AdapterUse, DrawRequest
from minimon_server.engines.model_info import ModelInfo
from minimon_server.errors import InvalidRequest
from minimon_server.jobs.asked_adapters import adapters_of
from minimon_server.jobs.drawing import Asked, request_for

THERE = ("neon", "ink", "wool", "glass", "fog")


@pytest.mark.parametrize(
    ("prompt", "loras", "uses"),
    [
        ("a cat", (), []),
        ("a cat <lora:neon:0.8>", (), [("neon", 0.8)]),
        ("<lyco:ink> a cat <lora:neon:-2>", (), [("ink", 1.0), ("neon", -2.0)]),
        ("a cat <lora:neon:0.5>", (("ink", 0.25),), [("ink", 0.25), ("neon", 0.5)]),
        ("<lora:neon:0.5> a cat <lora:neon:0.25>", (), [("neon", 0.75)]),
        ("a cat <lora:neon:0.5>", (("neon", 1.0),), [("neon", 1.5)]),
    ],
)
def test_tags_are_entries_of_loras(
    prompt: str, loras: tuple[tuple[str, float], ...], uses: list[tuple[str, float]]
) -> None:
    assert adapters_of(prompt, loras, THERE) == (tuple(AdapterUse(*use) for use in uses), [])


@pytest.mark.parametrize(
    ("prompt", "loras", "english"),
    [
        ("<lora:mist:1>", (), ["<lora:mist:1>: is not here; there are: neon, ink, wool, glass, fog"]),
        ("<lora:neon:2.5>", (), ["<lora:neon:2.5>: one weight, from -2 to 2"]),
        ("<lora:neon:0.5:1>", (), ["<lora:neon:0.5:1>: one weight, from -2 to 2"]),
        ("<lora:neon:2>", (("neon", 1.0),), ["<lora:neon:2>: one weight, from -2 to 2"]),
        ("<hypernet:neon:1>", (), ["<hypernet:neon:1>: there are no hypernetworks here"]),
        (
            "".join(f"<lora:{name}>" for name in THERE),
            (),
            ["at most 4 LoRAs, those of 'loras' included"],
        ),
        ("<lora:fog>", tuple((name, 1.0) for name in THERE[:4]), ["at most 4 LoRAs, those of 'loras' included"]),
        (f"<lora:{'x' * 200}>", (), [f"<lora:{'x' * 93}…: is not here; there are: neon, ink, wool, glass, fog"]),
    ],
)
def test_what_is_wrong_names_the_field_and_the_tag(
    prompt: str, loras: tuple[tuple[str, float], ...], english: list[str]
) -> None:
    _, mistakes = adapters_of(prompt, loras, THERE)
    assert [(one.field, one.message.en) for one in mistakes] == [("prompt", text) for text in english]
    assert all(one.message.fr != one.message.en for one in mistakes)


def test_many_mistakes_are_told_once_each_and_not_for_ever() -> None:
    _, same = adapters_of("<lora:a>" * 4000, (), THERE)
    assert len(same) == 1
    _, many = adapters_of("".join(f"<lora:{number}>" for number in range(2000)), (), THERE)
    assert len(many) == 8


def drawn(**asked: Any) -> DrawRequest:
    model = ModelInfo("one", "One", 64, 64, 4, 1.0, ("neon",), clip_layers=12)
    return request_for(Asked(**asked), {"one": model}, ("euler", "ddim"), lambda: 1)


def test_a_request_keeps_what_was_written_and_carries_what_it_means() -> None:
    request = drawn(prompt="a cat <lora:neon:0.8>", negative_prompt="<lora:neon:1>", clip_skip=12)
    assert (request.prompt, request.negative_prompt) == ("a cat <lora:neon:0.8>", "<lora:neon:1>")
    assert request.adapters == (AdapterUse("neon", 0.8),)
    assert str(request.stack) == "one+neon:0.8"
    assert request.clip_skip == 12


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        drawn(prompt="<lora:fog>", clip_skip=13, scheduler="magic")
    assert [(one.field, one.message.en) for one in caught.value.fields] == [
        ("prompt", "<lora:fog>: is not here; there are: neon"),
        ("clip_skip", "at most 12 with this model"),
        ("scheduler", "is not here; there are: euler, ddim"),
    ]
