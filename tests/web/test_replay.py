"""`POST /replay`: a file in, the same picture out; whatever is no file of ours, or asks for too much, is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import struct
import threading
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from starlette.requests import Request

from minimon_server.engines import exif, png
from minimon_server.engines.picture_files import encode
from minimon_server.errors import InvalidRequest, Text
from minimon_server.jobs.drawing import nobody_draws
from minimon_server.jobs.errors import NoRoom
from minimon_server.jobs.input_rules import MOST_PIXELS
from minimon_server.web import replay
from minimon_server.web.input_schemas import LARGEST_TEXT
from minimon_server.web.intake import MOST_AT_ONCE
from minimon_server.web.job_faces import body_bytes
from minimon_server.web.job_schemas import LARGEST_PICTURE, LONGEST_PROMPT
from minimon_server.web.replay import AT_ONCE
from tests.crayon import Crayon, drawing_with
from tests.support import app_under_test, png_chunk
from tests.web.drawing_scene import ENGLISH, PATIENCE, Easel, easel

TOLD: dict[str, Any] = {
    "schema": 1,
    "model": "tiny",
    "prompt": "a dragon",
    "negative_prompt": "",
    "seed": 5,
    "width": 64,
    "height": 64,
    "steps": 2,
    "guidance_scale": 1.0,
    "guidance_rescale": 0.0,
    "scheduler": None,
    "clip_skip": None,
    "adapters": [],
    "format": "png",
    "quality": None,
    "versions": {"minimon": "0"},
}


def deep(levels: int) -> Any:
    """Return lists within lists."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def file_of(told: object) -> bytes:
    return png.encode(np.zeros((2, 2, 3), np.uint8), {"minimon": json.dumps(told)})


def again(at: Easel, file: bytes, kind: str = "png", **headers: str) -> Any:
    return at.client.post("/replay", content=file, headers={"Content-Type": f"image/{kind}", **ENGLISH, **headers})


@pytest.mark.parametrize(("kind", "ending"), [("png", "png"), ("webp", "webp"), ("jpeg", "jpg"), ("avif", "avif")])
def test_a_file_makes_itself_again(tmp_path: Path, kind: str, ending: str) -> None:
    with easel(tmp_path) as at:
        wish: dict[str, Any] = {"format": kind} | ({} if kind == "png" else {"quality": 70})
        job = at.submit(
            "un château ❤" * 2000, seed=2**53 - 1, count=2, steps=3, scheduler="DDIM", width=72, clip_skip=1, **wish
        )
        names = at.until(job, state="SUCCESS")["result"]["filenames"]
        assert [name.rpartition(".")[2] for name in names] == [ending, ending]
        first = at.client.get(f"/image/{job}")
        assert first.headers["content-type"] == f"image/{kind}"
        second = at.client.get(f"/download/{names[1]}")
        assert second.headers["content-type"] == f"image/{kind}"
        for made, seed in ((first, 2**53 - 1), (second, 0)):
            answer = again(at, made.content, kind)
            assert answer.status_code == 202, answer.text
            body = answer.json()
            assert (body["seed"], body["scheduler"], body["differences"]) == (seed, "ddim", [])
            assert answer.headers["location"] == f"/status/{body['job_id']}"
            repeated = at.client.get(f"/image/{body['job_id']}?wait=20")
            assert repeated.content == made.content
            request = at.status(body["job_id"])["request"]
            assert request["prompt"] == "un château ❤" * 2000
            assert (request["format"], request["quality"]) == (kind, wish.get("quality"))


def test_a_key_makes_it_once(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        file = file_of(TOLD)
        ids = {again(at, file, **{"Idempotency-Key": "k"}).json()["job_id"] for _ in range(3)}
        assert len(ids) == 1
        other = again(at, file_of(TOLD | {"seed": 6}), **{"Idempotency-Key": "k"})
        assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_MISMATCH")


def test_versions_that_are_no_longer_here_are_told(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        odd = {"minimon": "0", "odd": deep(900)}
        assert again(at, file_of(TOLD | {"versions": odd})).json()["differences"][0]["then"] == "?"
        body = again(at, file_of(TOLD | {"versions": {"minimon": "0", "torch": "1.0"}})).json()
        assert body["differences"] == [{"what": "versions.torch", "then": "1.0", "now": None}]


def test_a_disk_that_says_nothing_of_the_weights_holds_up_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = [], threading.Event()

    def stuck(model: str) -> str:
        asked.append(model)
        answers.wait(PATIENCE)
        return "f"

    monkeypatch.setattr(replay, "PATIENCE_SECONDS", 0.02)
    drawing = dataclasses.replace(drawing_with(Crayon()), fingerprint=stuck)
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}, drawing=drawing) as bench:
        at = Easel(bench.client, Crayon(), tmp_path)
        for _ in range(AT_ONCE + 2):
            answer = again(at, file_of(TOLD | {"model_fingerprint": "f"}))
            assert answer.status_code == 202
            assert answer.json()["differences"] == [{"what": "model_fingerprint", "then": "f", "now": None}]
            assert len(at.client.get(f"/image/{answer.json()['job_id']}?wait=20").content) > 100
        assert len(asked) == AT_ONCE  # so many threads may hang, and no more
        answers.set()


WRONG: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "too much": (
        {"steps": 151, "width": 4096, "height": 65, "seed": -1, "guidance_scale": 1e9, "prompt": "x" * 40_000},
        {
            "steps": "must be at most 150",
            "width": "must be at most 2048",
            "height": "must be a multiple of 8",
            "seed": "must be at least 0",
            "guidance_scale": "must be at most 50.0",
            "prompt": "at most 32768 characters",
        },
    ),
    "types": (
        {"prompt": ["a"], "steps": "3", "adapters": {"a": 1}, "scheduler": 3, "format": "exe", "clip_skip": True},
        {
            "prompt": "must be a text",
            "steps": "must be a whole number",
            "loras": "must be a list",
            "scheduler": "must be a text",
            "format": "must be one of: png, webp, jpeg, avif",
            "clip_skip": "must be a whole number",
        },
    ),
    "elsewhere": ({"model": "gone"}, {"model": "is not here; there are: sdxl-base, pony-xl-v6, tiny"}),
    "fields of others": (
        {"count": 16, "controlnet": "x"},
        {
            "count": "is unknown here: another version has made this file",
            "controlnet": "is unknown here: another version has made this file",
        },
    ),
    "a value too deep to be written": ({"adapters": deep(900)}, {"body": "holds lists within lists"}),
    "a deep value": ({"adapters": [[[[{}]]]]}, {"loras.0": "must be a JSON object"}),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_a_file_asks_for_is_checked_as_any_request(
    tmp_path: Path, wrong: tuple[dict[str, Any], dict[str, str]]
) -> None:
    with easel(tmp_path) as at:
        changes, mistakes = wrong
        answer = again(at, file_of(TOLD | changes))
        assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST")
        assert {one["field"]: one["message"] for one in answer.json()["errors"]} == mistakes
        assert at.client.get("/jobs").json()["jobs"] == []


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    jpeg = encode(np.zeros((8, 8, 3), np.uint8), "jpeg", 80, exif.write(json.dumps(TOLD), ""))
    with easel(tmp_path) as at:
        for file in (b"", b"{}", b"\x89PNG", bomb, png.encode(np.zeros((2, 2, 3), np.uint8), {"parameters": "a cat"})):
            answer = again(at, file)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body"), file[:8]
            assert "does not say what made it" in answer.json()["detail"]
        assert again(at, file_of(TOLD)[:60]).json()["detail"] == "This file is damaged or cut short."
        other = again(at, jpeg, "png")
        assert (other.status_code, other.json()["errors"][0]["message"]) == (422, "is not what Content-Type says")
        for media_type in ("application/json", "image/gif", "text/plain", ""):
            answer = at.client.post("/replay", content=file_of(TOLD), headers={"Content-Type": media_type, **ENGLISH})
            assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
        large = again(at, b"\x89PNG\r\n\x1a\n" + bytes(LARGEST_PICTURE))
        assert (large.status_code, large.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_the_largest_file_that_can_be_asked_for_is_taken() -> None:
    longest = "\U0001f409" * LONGEST_PROMPT
    told = json.dumps(TOLD | {"prompt": longest, "negative_prompt": longest})
    noise = np.random.default_rng(1).integers(0, 256, (1536, 2048, 3), np.uint8)
    assert noise.size == 3 * MOST_PIXELS
    files = [png.encode(noise, {"minimon": told, "parameters": longest * 2})]
    files += [encode(noise, kind, 100, exif.write(told, longest * 2)) for kind in ("jpeg", "webp")]
    assert [len(file) < LARGEST_PICTURE for file in files] == [True] * 3
    assert body_bytes(b"POST", b"/replay?x=1") == LARGEST_PICTURE


def test_those_who_send_slowly_keep_nobody_out(tmp_path: Path) -> None:
    async def scene() -> None:
        desk = replay.ReplayDesk(*[cast(Any, None)] * 2)
        headers = [(b"content-type", b"image/png")]
        scope = {"type": "http", "method": "POST", "path": "/replay", "query_string": b"", "headers": headers}
        never = asyncio.Event()

        def body(first: bytes, *, ends: bool) -> Callable[[], Awaitable[dict[str, Any]]]:
            parts = iter([{"type": "http.request", "body": first, "more_body": not ends}])

            async def receive() -> dict[str, Any]:
                if (part := next(parts, None)) is None:
                    await never.wait()
                return part or {}

            return receive

        slow = [asyncio.create_task(desk.replay(Request(scope, body(b"x", ends=False)))) for _ in range(64)]
        await asyncio.sleep(0)
        with pytest.raises(InvalidRequest):  # it was read, though all the others are still sending
            await asyncio.wait_for(desk.replay(Request(scope, body(b"no picture", ends=True))), PATIENCE)
        # What they send counts, not that they do.
        large = bytes(LARGEST_PICTURE)
        full = MOST_AT_ONCE // (LARGEST_PICTURE - LARGEST_TEXT)
        slow += [asyncio.create_task(desk.replay(Request(scope, body(large, ends=False)))) for _ in range(full)]
        await asyncio.sleep(0)
        with pytest.raises(NoRoom):
            await desk.replay(Request(scope, body(large, ends=True)))
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(scene())


def test_a_file_that_is_refused_leaves_its_room_to_others(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        assert [again(at, b"x").status_code for _ in range(AT_ONCE + 1)] == [422] * (AT_ONCE + 1)
        assert again(at, file_of(TOLD)).status_code == 202


def test_where_nobody_draws_nothing_is_accepted(tmp_path: Path) -> None:
    why = Text("personne", "nobody")
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}, drawing=nobody_draws(why)) as bench:
        answer = bench.client.post("/replay", content=file_of(TOLD), headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.json()["code"]) == (503, "ENGINE_UNAVAILABLE")


def test_a_file_that_is_another_one_now_is_named(tmp_path: Path) -> None:
    asked: list[tuple[str, list[str]]] = []

    def hashes(model: str, loras: Collection[str]) -> dict[str, str]:
        asked.append((model, list(loras)))
        return {"model": "a" * 64, "vae": "b" * 64, "loras.neon": "d" * 64}

    drawing = dataclasses.replace(drawing_with(Crayon()), hashes=hashes)
    told = {**TOLD, "hashes": {"model": "a" * 64, "vae": "b" * 64, "loras": {"neon": "c" * 64}}, "trigger_words": []}
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}, drawing=drawing) as bench:
        answer = bench.client.post("/replay", content=file_of(told), headers={"Content-Type": "image/png"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["differences"] == [{"what": "hashes.loras.neon", "then": "c" * 64, "now": "d" * 64}]
    assert asked == [("tiny", ["neon"])]


def test_a_file_of_another_device_is_told(tmp_path: Path) -> None:
    drawing = dataclasses.replace(drawing_with(Crayon()), device=lambda: {"device": "cpu", "dtype": "float32"})
    told = {**TOLD, "device": "NVIDIA H200", "dtype": "bfloat16"}
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}, drawing=drawing) as bench:
        answer = bench.client.post("/replay", content=file_of(told), headers={"Content-Type": "image/png"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["differences"] == [
        {"what": "device", "then": "NVIDIA H200", "now": "cpu"},
        {"what": "dtype", "then": "bfloat16", "now": "float32"},
    ]
