"""From a file's words to a request: every field carried or named, nothing passed over, and what is not as it was."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from minimon_server.engines.draft_decoder import DraftDecoder
from minimon_server.engines.messages import AdapterUse, DrawRequest, Hires, InputPicture, IpAdapterUse
from minimon_server.engines.model_info import LoraInfo, ModelInfo
from minimon_server.engines.picture_metadata import describe
from minimon_server.errors import InvalidRequest, Text
from minimon_server.jobs import replay
from minimon_server.jobs.drawing import Asked, request_for
from minimon_server.jobs.input_rules import AskedHires
from minimon_server.web.job_schemas import DrawBody
from tests.jobs.scene import MADE_BY, REQUEST

FULL = replace(
    REQUEST,
    negative_prompt="blurry",
    seeds=(2**53 - 1,),
    scheduler="dpmpp_2m_karras",
    clip_skip=2,
    adapters=(AdapterUse("neon", 0.5), AdapterUse("ink", -1.0)),
    guidance_rescale=0.7,
    format="jpeg",
    quality=33,
    hires=Hires(128, 96, 8, 0.5),
    decoder="draft",
)


# Its defaults are others than what the requests hold: nothing may be left to them.
MODEL = ModelInfo("tiny", "Tiny", 128, 128, 9, 1.5, ("neon", "ink"), guidance_rescale=0.4)


def told(request: DrawRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(describe(request, request.seeds[0], MADE_BY)))
    return found


def asked_again(words: dict[str, Any]) -> DrawRequest:
    """Return the request that a file's words lead to, by the way of `POST /replay`."""
    body = DrawBody.model_validate_json(json.dumps(replay.body_of(words)))
    loras = tuple((lora.name, lora.weight) for lora in body.loras)
    hires = AskedHires(**body.hires.model_dump()) if body.hires else None
    return request_for(
        Asked(**{**body.model_dump(), "loras": loras, "hires": hires}),
        {MODEL.id: MODEL},
        ("dpmpp_2m_karras",),
        lambda: 1,
        draft=DraftDecoder("taesd", Path(), Path(), 4, 8),
    )


@pytest.mark.parametrize("request_", [REQUEST, FULL], ids=["plain", "full"])
def test_a_request_comes_back_as_it_was(request_: DrawRequest) -> None:
    assert asked_again(told(request_)) == request_


@pytest.mark.parametrize(
    ("prompt", "adapters", "loras"),
    [
        ("a <lora:neon:0.8>", (AdapterUse("neon", 0.8),), None),
        ("a <lora:neon:0.7>", (AdapterUse("neon", 0.1 + 0.7), AdapterUse("ink", 1.0)), [("neon", 0.1), ("ink", 1.0)]),
        ("<lora:ink:1> <lora:neon:1>", (AdapterUse("ink", 1.0), AdapterUse("neon", 1.0)), None),
    ],
)
def test_a_lora_of_the_prompt_counts_once(
    prompt: str, adapters: tuple[AdapterUse, ...], loras: list[tuple[str, float]] | None
) -> None:
    request = replace(REQUEST, prompt=prompt, adapters=adapters)
    body = replay.body_of(told(request))
    assert [(one["name"], one["weight"]) for one in body["loras"]] == (loras or [])
    assert asked_again(told(request)) == request


def test_every_field_of_a_request_is_carried_or_named() -> None:
    names = {field.name for field in fields(DrawRequest)} - {"seeds", "schema"} | {"seed"}
    assert names == set(replay.CARRIED) | set(replay.NOT_REPLAYABLE) | replay.DERIVED
    shown = {"ip_adapter_image", "ip_adapter_scale"}  # what a body says of `ip_adapter`
    elsewhere = {"count"} | set(replay.NOT_REPLAYABLE) | replay.IN_THE_PROMPT | shown
    assert set(replay.CARRIED.values()) == set(DrawBody.model_fields) - elsewhere
    # A field whose plain value differs from what is filled in shows by its absence: `FULL` has none left.
    unchanged = {field.name for field in fields(DrawRequest) if getattr(FULL, field.name) == field.default}
    assert unchanged == {"schema", *replay.NOT_REPLAYABLE, *replay.DERIVED}


def test_a_file_whose_hash_differs_is_named() -> None:
    hashes = {"model": "a" * 64, "vae": None, "loras": {"neon": "b" * 64, "ink": "c" * 64, "odd": 7}}
    words = told(REQUEST) | {"versions": {}, "hashes": hashes}
    assert replay.body_of(words)
    here = {"model": "a" * 64, "vae": "e" * 64, "loras.neon": "d" * 64}
    assert replay.differences(words, {}, None, hashes=here) == [
        {"what": "hashes.loras.neon", "then": "b" * 64, "now": "d" * 64},
        {"what": "hashes.loras.ink", "then": "c" * 64, "now": None},
    ]
    for older in ({}, {"hashes": None}, {"hashes": {"loras": 7}}):
        assert replay.differences(told(REQUEST) | {"versions": {}, **older}, {}, None, hashes=here) == []


def test_trigger_words_that_were_added_stand_in_the_prompt_already() -> None:
    loras = {"neon": LoraInfo("neon", "Neon", trigger_words=("neon glow", "night"))}
    asked = Asked("a fox", loras=(("neon", 0.5),), add_trigger_words=True)
    request = request_for(asked, {MODEL.id: MODEL}, (), lambda: 1, loras)
    assert (request.prompt, request.trigger_words) == ("a fox, neon glow, night", ("neon glow", "night"))
    body = replay.body_of(told(request) | {"trigger_words": list(request.trigger_words)})
    again = Asked(body["prompt"], loras=(("neon", 0.5),), add_trigger_words=True, exact=True)
    more = {"neon": replace(loras["neon"], trigger_words=("neon glow", "night", "new"))}
    made = request_for(again, {MODEL.id: MODEL}, (), lambda: 1, more)
    assert (made.prompt, made.trigger_words) == (request.prompt, request.trigger_words)


def test_files_of_earlier_versions_mean_what_they_meant_then() -> None:
    words = told(REQUEST)
    for name in ("guidance_rescale", "format", "quality"):
        del words[name]
    assert asked_again(words) == REQUEST


@pytest.mark.parametrize("name", sorted(set(replay.CARRIED) - set(replay.BEFORE) - replay.MAY_BE_NULL))
def test_what_is_missing_is_not_left_to_the_model(name: str) -> None:
    for words in ({key: value for key, value in told(FULL).items() if key != name}, told(FULL) | {name: None}):
        with pytest.raises(InvalidRequest) as refused:
            replay.body_of(words)
        assert [(one.field, one.message.en) for one in refused.value.fields] == [(name, "is missing in this file")]


def test_what_a_picture_was_drawn_at_is_told_and_not_asked_for() -> None:
    assert replay.body_of(told(FULL) | {"drawn_at": "64x64"}) == replay.body_of(told(FULL))


def test_what_is_unknown_is_not_passed_over() -> None:
    words = told(FULL) | {"controlnet": "canny"} | {f"{number}" * 1000: 1 for number in range(50)}
    with pytest.raises(InvalidRequest) as refused:
        replay.body_of(words)
    assert refused.value.fields[0].field == "controlnet"
    assert len(refused.value.fields) == replay.MOST_NAMED
    assert all(len(one.field) <= replay.LONGEST_NAME for one in refused.value.fields)


def test_what_cannot_be_had_from_a_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    why = Text("l'image de départ n'est pas dans le fichier", "the first picture is not in the file")
    monkeypatch.setattr(replay, "NOT_REPLAYABLE", {"init_image": why})
    assert replay.body_of(told(FULL) | {"init_image": None})
    with pytest.raises(InvalidRequest) as refused:
        replay.body_of(told(FULL) | {"init_image": "sha256:00"})
    assert [(one.field, one.message) for one in refused.value.fields] == [("init_image", why)]


def test_a_picture_that_began_with_another_is_not_made_again_without_it() -> None:
    cat = InputPicture("a" * 64, 64, 64)
    shown = IpAdapterUse("plus", cat, 0.6)
    words = told(replace(FULL, init_image=cat, mask=cat, strength=0.5, hires=None, ip_adapter=shown))
    with pytest.raises(InvalidRequest) as refused:
        replay.body_of(words)
    assert {one.field for one in refused.value.fields} == {"init_image", "mask", "strength", "ip_adapter"}
    assert "send it to /generate again" in refused.value.fields[0].message.en


def test_versions_that_changed_are_told() -> None:
    words = told(REQUEST) | {"versions": {"minimon": "1", "torch": "2.12", "old": "3", "odd": ["x" * 100]}}
    here = {"minimon": "1", "torch": "2.13", "new": "4"}
    assert replay.differences(words, here, None) == [
        {"what": "versions.torch", "then": "2.12", "now": "2.13"},
        {"what": "versions.new", "then": None, "now": "4"},
        {"what": "versions.old", "then": "3", "now": None},
        {"what": "versions.odd", "then": "?", "now": None},
    ]
    assert replay.differences(words | {"versions": here}, here, None) == []


def test_another_file_of_a_trained_word_is_told() -> None:
    words = told(REQUEST) | {"versions": {}, "trained_words": {"gone": "1", "same": "2", "other": "3", "odd": ["4"]}}
    now = {"same": "2", "other": "5", "new": "6"}
    assert replay.differences(words, {}, None, now) == [
        {"what": "trained_words.gone", "then": "1", "now": None},
        {"what": "trained_words.new", "then": None, "now": "6"},
        {"what": "trained_words.other", "then": "3", "now": "5"},
    ]
    assert replay.differences(told(REQUEST) | {"versions": {}}, {}, None) == []


def test_a_picture_that_was_decoded_in_tiles_for_want_of_memory_is_told() -> None:
    words = told(REQUEST) | {"versions": {}}
    assert replay.differences(words | {"decoded": "whole"}, {}, None) == []
    tiled = {"what": "decoded", "then": "tiled", "now": "whole"}
    assert replay.differences(words | {"decoded": "tiled"}, {}, None) == [tiled]


def test_loras_that_would_be_rounded_otherwise_are_told() -> None:
    words = told(REQUEST) | {"versions": {}}
    rounding = {"loras_rounded_to": "int8 weight-only"}
    whole, rounded = words | {"layers_in_full": 56}, words | rounding
    assert [replay.differences(one, {}, None, device=rounding) for one in (words, rounded)] == [[], []]
    assert [replay.differences(one, {}, None) for one in (words, whole)] == [[], []]
    assert replay.differences(whole, {}, None, device=rounding) == [
        {"what": "loras_rounded_to", "then": None, "now": "int8 weight-only"}
    ]
    assert replay.differences(rounded, {}, None) == [
        {"what": "loras_rounded_to", "then": "int8 weight-only", "now": None}
    ]
    assert replay.body_of(whole) == replay.body_of(words)


def test_another_device_is_told_with_its_numbers() -> None:
    words = told(REQUEST) | {"versions": {}, "device": "NVIDIA H200", "dtype": "bfloat16"}
    same, other = {"device": "NVIDIA H200", "dtype": "bfloat16"}, {"device": "cpu", "dtype": "float32"}
    assert replay.differences(words, {}, None, device=same) == []
    # One that was drawn again in float32 will be again.
    assert replay.differences(words | {"dtype": "float32"}, {}, None, device=same) == []
    assert replay.differences(words | {"dtype": "float32"}, {}, None, device=other) == [
        {"what": "device", "then": "NVIDIA H200", "now": "cpu"}
    ]
    for here in (other, {}):  # which may not be known yet
        assert replay.differences(words, {}, None, device=here) == [
            {"what": "device", "then": "NVIDIA H200", "now": here.get("device")},
            {"what": "dtype", "then": "bfloat16", "now": here.get("dtype")},
        ]
    assert replay.differences(told(REQUEST) | {"versions": {}}, {}, None, device=other) == []  # an older file


def test_another_model_of_the_same_name_is_told() -> None:
    words = told(REQUEST) | {"versions": {}}
    now = [{"what": "model_fingerprint", "then": None, "now": "b"}]
    assert replay.differences(words, {}, "b") == now
    assert replay.differences(words | {"model_fingerprint": "a"}, {}, "b") == [now[0] | {"then": "a"}]
    assert replay.differences(words | {"model_fingerprint": "b"}, {}, "b") == []
