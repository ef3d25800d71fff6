"""Pictures that come with `POST /generate`: taken in every packing, told, refused by name, bounded together."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minimon_server.jobs.errors import NoRoom
from minimon_server.web.input_schemas import LARGEST_TEXT
from minimon_server.web.intake import Room
from tests.hostile_pictures import hostile, plain, saved
from tests.web.drawing_scene import ENGLISH, PATIENCE, Easel, easel

CAT = saved(plain(128, 96), "PNG")
MASK = saved(Image.new("L", (128, 96), 255), "PNG")


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def inputs(at: Easel) -> list[str]:
    return sorted(path.name for path in (at.folder / "data" / "jobs.sqlite.inputs").glob("*"))


def mistakes(at: Easel, body: dict[str, Any]) -> dict[str, str]:
    """Return what is said to be wrong, by field, after checking that nothing was accepted or kept."""
    answer = at.client.post("/generate", json={"prompt": "a", "model": "tiny", **body}, headers=ENGLISH)
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST"), answer.text
    assert at.client.get("/jobs").json()["jobs"] == []
    assert inputs(at) == []
    return {one["field"]: one["message"] for one in answer.json()["errors"]}


def test_a_job_from_a_picture_to_a_picture(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        at.submit("wait")
        job = at.submit(init_image=encoded(CAT), mask=encoded(MASK), strength=0.5, steps=10)
        asked = at.status(job)["request"]
        assert (asked["width"], asked["height"], asked["strength"]) == (128, 96, 0.5)
        digests = [asked[name]["digest"] for name in ("init_image", "mask")]
        assert asked["init_image"] == {"digest": digests[0], "width": 128, "height": 96}
        assert inputs(at) == sorted(f"{digest}.png" for digest in digests)
        at.engine.go_on.set()
        done = at.until(job, state="SUCCESS")
        assert done["meta"] == {"current": 5, "total": 5, "percent": 100}
        assert (done["result"]["width"], done["result"]["height"]) == (128, 96)
        said = at.client.get(f"/image/{job}").headers["x-generation-metadata"]
        assert f'"init_image": "{digests[0]}"' in said
        assert f'"mask": "{digests[1]}"' in said


def test_a_second_pass_is_told_and_counted(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit(hires={"scale": 2, "strength": 0.5}, count=2)
        done = at.until(job, state="SUCCESS")
        assert done["meta"]["total"] == 2 * (4 + 2)
        assert done["request"]["hires"] == {"width": 128, "height": 128, "steps": 4, "strength": 0.5}
        assert (done["result"]["width"], done["result"]["height"]) == (128, 128)
        with Image.open(io.BytesIO(at.client.get(f"/image/{job}").content)) as opened:
            assert opened.size == (128, 128)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_base64_comes_as_it_is_usually_written(tmp_path: Path, kind: str) -> None:
    with easel(tmp_path) as at:
        at.submit("wait")
        data = saved(plain(64, 64), kind)
        wrapped = base64.encodebytes(data).decode("ascii")
        forms = [encoded(data), wrapped, wrapped.replace("\n", "\r\n"), f"data:image/png;base64,{encoded(data)}"]
        jobs = [at.submit(init_image=form) for form in forms]
        assert len({at.status(job)["request"]["init_image"]["digest"] for job in jobs}) == 1
        assert len(inputs(at)) == 1


@pytest.mark.parametrize(
    "text",
    ["%%%%", "QUJ", "QUJD=", "QUJDRA==QUJD", "QU JD", "-_-_", "é" * 8, "data:image/png;base64", "data:,AAAA", "\t"],
)
def test_what_is_no_base64_is_said(tmp_path: Path, text: str) -> None:
    with easel(tmp_path) as at:
        assert mistakes(at, {"init_image": text}) == {"init_image": "is not base64 (RFC 4648, section 4)"}


@pytest.mark.parametrize("picture", ["not base64!", encoded(b"no picture")])
def test_what_is_wrong_beside_a_picture_is_told_in_the_same_answer(tmp_path: Path, picture: str) -> None:
    with easel(tmp_path) as at:
        told = mistakes(at, {"init_image": picture, "scheduler": "none", "width": 2048, "prompt": "<lora:x:1>"})
        assert sorted(told) == ["init_image", "prompt", "scheduler"]
        assert sorted(mistakes(at, {"init_image": picture, "model": "none"})) == ["init_image", "model"]
        assert sorted(mistakes(at, {"init_image": picture})) == ["init_image"]


def test_every_hostile_picture_is_refused_by_its_field_and_reason(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        for name, (data, reason) in hostile().items():
            if data:
                found = mistakes(at, {"init_image": encoded(CAT), "mask": encoded(data)})
                assert list(found) == ["mask"], name
                assert reason in found["mask"], name
        both = mistakes(at, {"init_image": encoded(b"GIF89a"), "mask": encoded(b"BM")})
        assert both == dict.fromkeys(("init_image", "mask"), "PNG, JPEG or WebP only")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"init_image": ""}, {"init_image": "at least 1 character"}),
        (
            {"init_image": 7, "mask": [], "strength": "1"},
            {"init_image": "must be a text", "mask": "must be a text", "strength": "must be a number"},
        ),
        ({"strength": 0}, {"strength": "must be above 0.0"}),
        ({"strength": 1.01}, {"strength": "must be at most 1.0"}),
        ({"hires": {"scale": 4.5}}, {"hires.scale": "must be at most 4.0"}),
        ({"hires": {"scale": 2, "upscaler": "x"}}, {"hires.upscaler": "unknown field"}),
        ({"hires": {"width": 100, "height": 64}}, {"hires.width": "must be a multiple of 8"}),
        ({"hires": 2}, {"hires": "must be a JSON object"}),
        ({"mask": encoded(MASK), "strength": 0.5}, {"mask": "needs init_image", "strength": "needs init_image"}),
        ({"init_image": encoded(CAT), "steps": 1}, {"strength": "steps x strength = 1 x 0.75: at least 1 step"}),
        ({"hires": {"scale": 4}, "width": 1024}, {"hires": "4096x256 pixels; at most 2048 a side and 3145728 in all"}),
    ],
)
def test_wrong_wishes_are_told_by_field(tmp_path: Path, body: dict[str, Any], told: dict[str, str]) -> None:
    with easel(tmp_path) as at:
        assert mistakes(at, body) == told


@pytest.mark.parametrize("inner", [b'"a",', b"\\n,", b'"', b","])
def test_a_large_body_is_large_by_its_pictures_alone(tmp_path: Path, inner: bytes) -> None:
    with easel(tmp_path) as at:
        content = b'{"prompt": [' + inner * (2 * LARGEST_TEXT // len(inner)) + b"0]}"
        headers = ENGLISH | {"Content-Type": "application/json"}
        answer = at.client.post("/generate", content=content, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"field": "body", "message": "besides base64, at most 1048576 bytes"}]
        wrapped = base64.encodebytes(saved(Image.fromarray(noise()), "PNG", compress_level=0)).decode("ascii")
        assert len(wrapped) > 2 * LARGEST_TEXT
        at.submit(init_image=wrapped.replace("\n", "\r\n"), width=64, height=64)


def noise(side: int = 1000) -> Any:
    """Return pixels that do not pack."""
    return np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)


def test_a_key_is_the_file_however_it_was_sent(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        at.submit("wait")

        def post(**body: object) -> Any:
            answer = at.client.post(
                "/generate",
                json={"prompt": "a", "model": "tiny", **body},
                headers={"Idempotency-Key": "k1"},
            )
            return answer.json().get("job_id") or answer.json()["code"]

        first = post(init_image=encoded(CAT))
        assert post(init_image=f"data:image/png;base64,{encoded(CAT)}") == first
        assert post(init_image=encoded(saved(plain(128, 88), "PNG"))) == "IDEMPOTENCY_MISMATCH"
        assert post(init_image=encoded(CAT), strength=0.5) == "IDEMPOTENCY_MISMATCH"
        assert post() == "IDEMPOTENCY_MISMATCH"


def test_a_full_queue_and_a_full_store_keep_no_picture(tmp_path: Path) -> None:
    with easel(tmp_path, MINIMON_QUEUE_LIMIT="1", MINIMON_OUTPUT_MEGABYTES="16") as at:
        at.until(at.submit("wait"), state="PROGRESS")
        pixels = noise(1800)
        large = encoded(saved(Image.fromarray(pixels), "PNG", compress_level=0))
        waiting = at.submit(init_image=large, width=64, height=64)
        refused = at.client.post("/generate", json={"prompt": "a", "init_image": encoded(CAT)}, headers=ENGLISH)
        assert (refused.status_code, refused.json()["code"]) == (429, "QUEUE_FULL")
        digest = at.status(waiting)["request"]["init_image"]["digest"]
        until = time.monotonic() + PATIENCE
        while inputs(at) != [f"{digest}.png"]:  # the picture that was not accepted is swept
            assert time.monotonic() < until
            time.sleep(0.05)
        other = encoded(saved(Image.fromarray(pixels[::-1]), "PNG", compress_level=0))
        full = at.client.post("/generate", json={"prompt": "a", "init_image": other}, headers=ENGLISH)
        assert (full.status_code, full.json()["code"]) == (503, "NO_ROOM_FOR_PICTURES")
        assert full.headers["retry-after"] == "30"


def test_large_bodies_are_bounded_together_and_texts_always_pass() -> None:
    room = Room(1000)
    with room.share() as first:
        first(LARGEST_TEXT)
        for _ in range(9):
            first(100)
        with room.share() as text:
            text(LARGEST_TEXT)
        with room.share() as second:
            second(LARGEST_TEXT + 100)
            with pytest.raises(NoRoom):
                first(1)
        with pytest.raises(NoRoom), room.share() as third:
            third(LARGEST_TEXT + 101)
        with room.share() as fourth:
            fourth(LARGEST_TEXT + 100)
    with room.share() as last:
        last(LARGEST_TEXT + 1000)


def test_without_an_engine_a_picture_is_not_even_looked_at(tmp_path: Path) -> None:
    from tests.support import app_under_test

    with app_under_test(tmp_path) as bench:
        answer = bench.client.post("/generate", json={"prompt": "a", "init_image": encoded(b"GIF89a")})
        assert (answer.status_code, answer.json()["code"]) == (503, "ENGINE_UNAVAILABLE")
        assert not (tmp_path / "data").exists()
