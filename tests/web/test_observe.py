"""One request, one line: ids, levels, hostile bytes, bodies and pictures in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import app_under_test, small_png


def test_a_request_is_one_line(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        answer = bench.client.get("/v1/generate")
        (line,) = bench.lines()
        assert line["event"] == "request"
        assert line["id"] == answer.headers["x-request-id"]
        assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/generate", 200)
        assert line["client"] == "192.0.2.1"
        assert isinstance(line["ms"], float)
        assert line["creature"] == answer.json()["metadata"]["id"]
        assert line["rarity"] == answer.json()["metadata"]["rarity"]


def test_an_id_that_comes_in_goes_out(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        answer = bench.client.get("/nowhere", headers={"X-Request-ID": "game-42.retry_1"})
        assert answer.headers["x-request-id"] == answer.json()["requestId"] == "game-42.retry_1"
        assert bench.lines()[0]["id"] == "game-42.retry_1"


@pytest.mark.parametrize("hostile", [b"", b"a b", b"a\tb", b"<script>", b"x" * 65, b"\xe9", b'","level":"error'])
def test_an_id_that_is_not_plain_is_replaced(tmp_path: Path, hostile: bytes) -> None:
    with app_under_test(tmp_path) as bench:
        answer = bench.client.get("/health", headers={b"X-Request-ID": hostile})
        assert len(answer.headers["x-request-id"]) == 16
        assert bench.lines()[0]["id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/a%0d%0aX: 1", "/é", "/%1b[31m", "/a b", '/"},{"', "/" + "x" * 5000, "/%e2%80%ae", "/\\..\\"]
)
@pytest.mark.parametrize("as_json", ["1", "0"])
def test_hostile_paths_break_no_line(tmp_path: Path, path: str, as_json: str) -> None:
    with app_under_test(tmp_path, {"LOG_JSON": as_json}) as bench:
        assert bench.client.get(path).status_code == 404
        text = bench.text()
        assert text.count("\n") == 1
        assert text[:-1].isascii()
        assert text[:-1].isprintable()
        assert len(text) < 1000


def test_the_query_and_the_token_are_not_logged(tmp_path: Path) -> None:
    with app_under_test(tmp_path, {"MINIMON_BEARER_TOKEN": "hush", "LOG_LEVEL": "DEBUG"}) as bench:
        bench.client.get("/v1/generate?seed=1", headers={"Authorization": "Bearer hush"})
        bench.client.get("/v1/generate?token=hush", headers={"Authorization": "Bearer wrong-guess"})
        bench.client.get("/hush")
        text = bench.text()
        assert "hush" not in text
        assert "wrong-guess" not in text
        assert "seed" not in text


def test_errors_of_the_client_are_no_errors_of_the_server(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        bench.client.get("/nowhere")
        bench.client.get("/v1/generate?seed=x")
        assert [(line["level"], line["status"]) for line in bench.lines()] == [("info", 404), ("info", 422)]


def test_a_level_above_info_logs_no_requests(tmp_path: Path) -> None:
    with app_under_test(tmp_path, {"LOG_LEVEL": "WARN"}) as bench:
        bench.client.get("/health")
        assert bench.text() == ""


def test_bodies_are_logged_when_asked_for_and_only_their_beginning(tmp_path: Path) -> None:
    with app_under_test(tmp_path / "on", {"LOG_REQUEST_BODY": "1", "MINIMON_BEARER_TOKEN": "hush"}) as bench:
        headers = {"Authorization": "Bearer hush"}
        bench.client.post("/v1/generate", content=b'{"a":"hush \xff\n"}', headers=headers)
        bench.client.post("/v1/generate", content=b"x" * 9000, headers=headers)
        bench.client.get("/v1/generate", headers=headers)
        first, second, third = bench.lines()
        assert first["request_body"] == '{"a":"*** \\xff\n"}'
        assert second["request_body"] == "x" * 4096
        assert "request_body" not in third
    with app_under_test(tmp_path / "off") as bench:
        bench.client.post("/v1/generate", content=b"private")
        assert "private" not in bench.text()


def test_pictures_are_logged_when_asked_for(tmp_path: Path) -> None:
    environ = {"LOG_IMAGE_B64": "1", "LOG_SAMPLE_IMAGE_BYTES": "12"}
    with app_under_test(tmp_path, environ) as bench:
        answer = bench.client.get("/v1/generate").json()
        (line,) = bench.lines()
        assert line["image_b64"] == answer["imageBase64"]
        assert line["image_bytes"] == small_png(0)[:12].hex()


def test_what_nobody_caught_is_told_once_and_keeps_its_secrets(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        route = next(route for route in bench.app.routes if getattr(route, "path", "") == "/health")
        route.app = _broken  # type: ignore[attr-defined]
        answer = bench.client.get("/health")
        assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
        assert "C:" not in answer.text
        assert answer.headers["x-request-id"]
        (line,) = bench.lines()
        assert line["level"] == "error"
        assert "RuntimeError: C:/secret" in line["exception"]


async def _broken(*_: object) -> None:
    raise RuntimeError("C:/secret")


def test_every_answer_forbids_guessing_its_type(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        for path in ("/health", "/nowhere", "/v1/generate"):
            assert bench.client.get(path).headers["x-content-type-options"] == "nosniff"
