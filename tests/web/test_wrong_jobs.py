"""What `POST /generate` refuses: every mistake at once, each by its field, and nothing accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minimon_server.json_mistakes import MOST_MISTAKES
from minimon_server.web.validation import MOST_VALUES
from tests.web.drawing_scene import ENGLISH, easel

WRONG: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "everything": (
        {
            "prompt": "",
            "steps": 151,
            "guidance_scale": 50.5,
            "seed": 2**53,
            "width": 65,
            "height": 32,
            "count": 17,
            "colour": "blue",
            "loras": [{"name": "x", "weight": 3}],
        },
        {
            "prompt": "at least 1 character",
            "steps": "must be at most 150",
            "guidance_scale": "must be at most 50.0",
            "seed": "must be at most 9007199254740991",
            "width": "must be a multiple of 8",
            "height": "must be at least 64",
            "count": "must be at most 16",
            "colour": "unknown field",
            "loras.0.weight": "must be at most 2.0",
            "loras.0.name": "is not here; there are: none",
        },
    ),
    "types": (
        {"prompt": 3, "steps": "30", "seed": 1.5, "loras": "style", "count": True, "guidance_scale": "7"},
        {
            "prompt": "must be a text",
            "steps": "must be a whole number",
            "seed": "must be a whole number",
            "loras": "must be a list",
            "count": "must be a whole number",
            "guidance_scale": "must be a number",
        },
    ),
    "what there is none of": (
        {"prompt": "a", "model": "sd3", "scheduler": "magic", "width": 2048, "height": 2048},
        {
            "model": "is not here; there are: sdxl-base, pony-xl-v6, tiny",
            "scheduler": "is not here; there are: euler, ddim",
            "width": "width times height: at most 3145728 pixels",
        },
    ),
    "formats": (
        {"prompt": "a", "format": "gif", "quality": 0, "guidance_rescale": 1.5},
        {
            "format": "must be one of: png, webp, jpeg, avif",
            "quality": "must be at least 1",
            "guidance_rescale": "must be at most 1.0",
        },
    ),
    "a quality of a format that there is not": (
        {"prompt": "a", "format": ["gif"], "quality": 90},
        {"format": "must be one of: png, webp, jpeg, avif"},
    ),
    "a quality of what loses nothing": (
        {"prompt": 3, "quality": 90},
        {"prompt": "must be a text", "quality": "PNG loses nothing: it has no quality"},
    ),
    "adapters": (
        {"prompt": "a", "model": "sdxl-base", "loras": [{"name": "style-anime"}]},
        {"loras.0.name": "is not here; there are: none"},
    ),
    "a tag": (
        {"prompt": "a <lora:fog:0.5>", "model": "pony-xl-v6"},
        {"prompt": "<lora:fog:0.5>: is not here; there are: style-anime, character-detailed"},
    ),
    "a tag, and a wrong form": (
        {"prompt": "a <hypernet:fog>", "steps": 0, "loras": [{"name": "x", "weight": 3}], "model": "pony-xl-v6"},
        {
            "prompt": "<hypernet:fog>: there are no hypernetworks here",
            "steps": "must be at least 1",
            "loras.0.name": "is not here; there are: style-anime, character-detailed",
            "loras.0.weight": "must be at most 2.0",
        },
    ),
    "mistakes of the form and of what there is": (
        {
            "prompt": "",
            "steps": 0,
            "model": "sdxl-base",
            "scheduler": "magic",
            "width": 2048,
            "height": 2048,
            "loras": [{"name": "style-anime"}, {"name": "neon", "weight": 3}, {"name": ""}, 7],
        },
        {
            "prompt": "at least 1 character",
            "steps": "must be at least 1",
            "scheduler": "is not here; there are: euler, ddim",
            "width": "width times height: at most 3145728 pixels",
            "loras.0.name": "is not here; there are: none",
            "loras.1.name": "is not here; there are: none",
            "loras.1.weight": "must be at most 2.0",
            "loras.2.name": "at least 1 character",
            "loras.3": "must be a JSON object",
        },
    ),
    "what depends on a wrong field": (
        {"prompt": "a", "model": 3, "width": 2048, "height": 4096, "loras": [{"name": "neon"}]},
        {"model": "must be a text", "height": "must be at most 2048"},
    ),
    "no such model, and a wrong form": (
        {"prompt": 3, "model": "sd3", "loras": [{"name": "neon"}], "scheduler": None},
        {"prompt": "must be a text", "model": "is not here; there are: sdxl-base, pony-xl-v6, tiny"},
    ),
    "five adapters": (
        {"prompt": "a", "loras": [{"name": "x"}] * 5},
        {"loras": "at most 4 items"},
    ),
    "a long prompt": ({"prompt": "x" * 32_769}, {"prompt": "at most 32768 characters"}),
    "a prompt with NUL": ({"prompt": "a\0b"}, {"prompt": "holds a character that is forbidden there"}),
    "nothing": ({}, {"prompt": "is missing"}),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_every_mistake_is_told_at_once(tmp_path: Path, wrong: tuple[dict[str, Any], dict[str, str]]) -> None:
    with easel(tmp_path) as at:
        body, mistakes = wrong
        answer = at.client.post("/generate", json=body, headers=ENGLISH)
        assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST")
        assert {one["field"]: one["message"] for one in answer.json()["errors"]} == mistakes
        french = at.client.post("/generate", json=body).json()["errors"]
        assert {one["field"] for one in french} == set(mistakes)
        assert not {one["message"] for one in french} & set(mistakes.values())
        assert at.client.get("/jobs").json()["jobs"] == []


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        for content, field in ((b"{", "body"), (b"", "body"), (b"[]", "body"), (b'"a"', "body"), (b"\xff", "body")):
            answer = at.client.post("/generate", content=content, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), content
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
            answer = at.client.post("/generate", content=b'{"prompt": "a"}', headers={"Content-Type": media_type})
            assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
        large = at.client.post(
            "/generate", content=b" " * (33 << 20), headers={"Content-Type": "application/json; charset=UTF-8"}
        )
        assert (large.status_code, large.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("content", "mistakes"),
    [
        (b'{"prompt": "a", "prompt": "b"}', ["prompt"]),
        (b'{"prompt": "a", "steps": 3, "steps": 3, "steps": 999}', ["steps", "steps"]),
        (
            b'{"prompt": "a", "loras": [{"name": "x"}, {"name": "y", "weight": 1, "w\\u0065ight": 0}]}',
            ["loras.1.weight"],
        ),
        (b'{"prompt": "a", "loras": [], "model": "sd3", "loras": []}', ["loras", "model"]),
        (b'{"prompt": "a", "colour": {"red": 1, "red": 2}}', ["colour.red", "colour"]),
        (b'{"prompt": "a", "steps": 1' + b"0" * 4000 + b', "steps": 1}', ["steps"]),
    ],
)
def test_a_member_that_stands_twice_is_refused_by_name(tmp_path: Path, content: bytes, mistakes: list[str]) -> None:
    with easel(tmp_path) as at:
        headers = {"Content-Type": "application/json", **ENGLISH}
        answer = at.client.post("/generate", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST")
        told = answer.json()["errors"]
        assert [one["field"] for one in told if not one["field"].endswith(".name")] == mistakes
        assert told[0]["message"] == "given more than once"
        assert at.client.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "content",
    [
        b'{"prompt": "a"' + b', "steps": 1' * 80_000 + b"}",
        b'{"prompt": "a", "x": [' + b'{"a": 1, "a": 2},' * 50_000 + b"0]}",
        b'{"prompt": "a"' + b", " * 500_000,
    ],
    ids=["the same", "inner ones", "no JSON"],
)
def test_a_body_of_very_many_values_is_refused_unread(tmp_path: Path, content: bytes) -> None:
    with easel(tmp_path) as at:
        answer = at.client.post("/generate", content=content, headers={"Content-Type": "application/json", **ENGLISH})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"field": "body", "message": f"at most {MOST_VALUES} values"}]
        # Commas of a text are no values.
        at.until(at.submit(', "\\' * 5000), state="SUCCESS")


def test_a_thousand_mistakes_are_told_by_the_first_of_them(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        body = {"prompt": "a"} | {f"unknown{number}": number for number in range(1000)}
        told = at.client.post("/generate", json=body).json()["errors"]
        assert len(told) == MOST_MISTAKES + 1
        assert told[-1]["field"] == "body"


def test_what_may_be_said_is_listed_in_the_language_of_the_answer(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        answer = at.client.post("/generate", json={"prompt": "a", "format": "gif"}, headers={"Accept-Language": "fr"})
        told = [{"field": "format", "message": "doit être l'un de : png, webp, jpeg, avif"}]
        assert (answer.status_code, answer.json()["errors"]) == (422, told)
