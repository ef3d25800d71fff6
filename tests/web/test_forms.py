"""`POST /generate` with files: the same job as by JSON, mistakes named, nothing for pages from elsewhere to abuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from minimon_server.web.input_schemas import LARGEST_BODY, LARGEST_TEXT
from tests.hostile_pictures import plain, saved
from tests.web.drawing_scene import ENGLISH, Easel, easel

CAT = saved(plain(128, 96), "JPEG", quality=98)
MASK = saved(Image.new("L", (128, 96), 255), "PNG")
ASKED = {"prompt": "un châtelain", "model": "tiny"}
FORM = {"Content-Type": "multipart/form-data; boundary=XX"}


def part(name: str, data: bytes, more: str = "") -> bytes:
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"


REQUEST = part("request", json.dumps(ASKED).encode())


def send(at: Easel, content: bytes, **headers: str) -> Any:
    return at.client.post("/generate", content=content, headers=ENGLISH | FORM | headers)


def test_a_form_is_the_same_job_as_its_json(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        at.submit("wait")
        files: dict[str, Any] = {
            "request": (None, json.dumps(ASKED | {"strength": 0.5})),
            "init_image": ("C:\\cat.jpeg", CAT, "image/gif"),
            "mask": ("../../mask", MASK),
        }
        answer = at.client.post("/generate", files=files, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 202, answer.text
        asked = at.status(answer.json()["job_id"])["request"]
        assert (asked["prompt"], asked["width"], asked["strength"]) == (ASKED["prompt"], 128, 0.5)
        assert asked["mask"]["width"] == 128
        again = at.client.post("/generate", files=files, headers={"Idempotency-Key": "k"})
        assert again.json()["job_id"] == answer.json()["job_id"]
        at.engine.go_on.set()
        at.until(answer.json()["job_id"], state="SUCCESS")


def test_a_form_without_pictures_will_do(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        answer = send(at, REQUEST + b"--XX--\r\n")
        assert answer.status_code == 202
        assert send(at, REQUEST + b"--XX--").status_code == 202
        at.until(answer.json()["job_id"], state="SUCCESS")


WRONG: dict[str, tuple[bytes, dict[str, str]]] = {
    "nothing": (b"", {"body": "is not readable multipart/form-data"}),
    "a preamble": (b"preamble\r\n" + REQUEST + b"--XX--", {"body": "is not readable multipart/form-data"}),
    "no end": (REQUEST, {"body": "is not readable multipart/form-data"}),
    "cut in a part": (REQUEST[:-10], {"body": "is not readable multipart/form-data"}),
    "no part": (b"--XX--\r\n", {"request": "is missing: the JSON of the request"}),
    "another boundary": (REQUEST.replace(b"XX", b"YY"), {"body": "is not readable multipart/form-data"}),
    "no name": (
        b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XX--",
        {"body": "is not readable multipart/form-data"},
    ),
    "no disposition": (b"--XX\r\nA: b\r\n\r\nx\r\n--XX--", {"body": "is not readable multipart/form-data"}),
    "an attachment": (
        REQUEST.replace(b"form-data;", b"attachment;") + b"--XX--",
        {"body": "is not readable multipart/form-data"},
    ),
    "long headers": (
        b"--XX\r\nA: " + b"b" * 10_000 + b"\r\n\r\nx\r\n--XX--",
        {"body": "is not readable multipart/form-data"},
    ),
    "many headers": (
        b"--XX\r\n" + b"A: b\r\n" * 100 + b"\r\nx\r\n--XX--",
        {"body": "is not readable multipart/form-data"},
    ),
    "an unknown part": (REQUEST + part("picture", CAT) + b"--XX--", {"picture": "unknown field"}),
    "a part twice": (REQUEST + part("mask", CAT) * 2 + b"--XX--", {"mask": "given more than once"}),
    "no request": (part("init_image", CAT) + b"--XX--", {"request": "is missing: the JSON of the request"}),
    "a request that is no JSON": (part("request", b"prompt=a") + b"--XX--", {"body": "is not readable JSON"}),
    "a wrong wish": (part("request", b'{"prompt": ""}') + b"--XX--", {"prompt": "at least 1 character"}),
    "a long request": (
        part("request", b" " * (LARGEST_TEXT + 1)) + b"--XX--",
        {"request": "at most 1048576 bytes"},
    ),
    "an empty picture": (REQUEST + part("mask", b"", '; filename="m"') + b"--XX--", {"mask": "PNG, JPEG or WebP only"}),
    "two that are none": (
        REQUEST + part("mask", b"GIF89a") + part("init_image", CAT[:100]) + b"--XX--",
        {"init_image": "a file that is cut short or damaged", "mask": "PNG, JPEG or WebP only"},
    ),
    "a picture in both": (
        part("request", json.dumps(ASKED | {"init_image": "QUJD"}).encode()) + part("init_image", CAT) + b"--XX--",
        {"init_image": "given more than once"},
    ),
}


@pytest.mark.parametrize(("content", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_form_is_named(tmp_path: Path, content: bytes, told: dict[str, str]) -> None:
    with easel(tmp_path) as at:
        answer = send(at, content)
        assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST")
        assert {one["field"]: one["message"] for one in answer.json()["errors"]} == told
        assert at.client.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", "Multipart/Form-Data; x=y"])
def test_a_form_without_a_boundary_is_refused(tmp_path: Path, kind: str) -> None:
    with easel(tmp_path) as at:
        answer = at.client.post("/generate", content=REQUEST + b"--XX--", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


def test_a_form_is_as_bounded_as_json(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        answer = send(at, REQUEST + part("mask", bytes(LARGEST_BODY)) + b"--XX--")
        assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://testserver:8009", "null"])
def test_a_page_from_elsewhere_must_make_its_browser_ask_first(tmp_path: Path, origin: str) -> None:
    with easel(tmp_path) as at:
        refused = send(at, REQUEST + b"--XX--", Origin=origin)
        assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
        for name in ("Idempotency-Key", "X-Request-ID", "Authorization"):
            assert send(at, REQUEST + b"--XX--", Origin=origin, **{name: "abc"}).status_code == 202
        assert send(at, REQUEST + b"--XX--", Origin="https://testserver").status_code == 202
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        asked = at.client.options("/generate", headers=preflight | {"Access-Control-Request-Headers": "x-request-id"})
        assert "access-control-allow-origin" not in asked.headers
