"""`GET /v1/generate`: the document's answer, the bare picture, seeds, rarities, and every kind of nonsense."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from minimon_server.creatures.rarity import RARITIES
from minimon_server.engines.files import png_size
from minimon_server.web.generate import wants_png
from minimon_server.web.schemas import CreatureAnswer
from tests.support import Bench, app_under_test, small_png

OPEN = {"MINIMON_RATE_LIMIT_PER_MIN": "0"}


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    with app_under_test(tmp_path, OPEN) as made:
        yield made


def test_the_answer_is_the_documents(bench: Bench) -> None:
    answer = bench.client.get("/v1/generate")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert answer.headers["x-minimon-id"] == body["metadata"]["id"]  # also where the body is cut off
    assert list(body) == ["imageBase64", "metadata", "generatedAt"]
    assert list(body["metadata"]) == ["id", "name", "rarity"]
    assert re.fullmatch(r"mnm_[0-9a-f]{24}", body["metadata"]["id"])
    assert body["metadata"]["rarity"] in list(RARITIES)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["generatedAt"])
    assert png_size(base64.b64decode(body["imageBase64"], validate=True)) == (4, 4)
    CreatureAnswer.model_validate_json(answer.content)


def test_no_two_creatures_are_the_same(bench: Bench) -> None:
    assert len({bench.client.get("/v1/generate").json()["metadata"]["id"] for _ in range(50)}) == 50


def test_the_same_seed_gives_the_same_creature(bench: Bench) -> None:
    one, again, other = (bench.client.get("/v1/generate", params={"seed": seed}).json() for seed in (42, 42, 43))
    assert (one["metadata"], one["imageBase64"]) == (again["metadata"], again["imageBase64"])
    assert one["metadata"]["id"] != other["metadata"]["id"]


@pytest.mark.parametrize("rarity", list(RARITIES))
def test_a_rarity_can_be_asked_for(bench: Bench, rarity: str) -> None:
    answer = bench.client.get("/v1/generate", params={"rarity": rarity})
    assert answer.json()["metadata"]["rarity"] == rarity


@pytest.mark.parametrize("written", ["S+", "S%2B", "s+", "S%2b", "S%20"])
def test_s_plus_may_be_written_as_people_write_it(bench: Bench, written: str) -> None:
    answer = bench.client.get(f"/v1/generate?rarity={written}")
    assert answer.json()["metadata"]["rarity"] == "S+"


def test_a_bare_picture_brings_its_metadata_in_headers(bench: Bench) -> None:
    as_json = bench.client.get("/v1/generate?seed=5&rarity=S%2B").json()
    answer = bench.client.get("/v1/generate?seed=5&rarity=S%2B", headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == base64.b64decode(as_json["imageBase64"]) == small_png(100)
    assert answer.headers["x-minimon-id"] == as_json["metadata"]["id"]
    assert answer.headers["x-minimon-name"] == as_json["metadata"]["name"]
    assert answer.headers["x-minimon-rarity"] == "S+"
    assert answer.headers["x-minimon-generated-at"].endswith("Z")
    assert answer.headers["cache-control"] == "no-store"


def test_head_answers_without_a_body(bench: Bench) -> None:
    answer = bench.client.head("/v1/generate")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize(
    ("accept", "png"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("image/*", True),
        ("image/png,*/*;q=0.1", True),
        ("image/png;q=0.5,application/json;q=0.9", False),
        ("application/json;q=0.5,image/png;q=0.9", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("image/avif,image/webp,*/*", False),
        ("image/avif,image/webp,image/png,image/svg+xml,*/*;q=0.5", True),
        ("image/png;q=0", False),
        ("image/png;q=0,image/*", False),
        ("text/plain", False),
        (",;q=,,", False),
    ],
)
def test_who_gets_a_bare_picture(accept: str, png: bool) -> None:
    assert wants_png(accept.encode()) is png


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("rarity=Z", ["rarity"]),
        ("rarity=", ["rarity"]),
        ("rarity=S%2B%2B", ["rarity"]),
        ("seed=", ["seed"]),
        ("seed=-1", ["seed"]),
        ("seed=9007199254740992", ["seed"]),
        ("seed=1.0", ["seed"]),
        ("seed=1_000", ["seed"]),
        ("seed=%201", ["seed"]),
        ("seed=%D9%A1", ["seed"]),
        ("seed=1e3", ["seed"]),
        ("seed=true", ["seed"]),
        ("seed=" + "9" * 5000, ["seed"]),
        ("seed=1&seed=2", ["seed"]),
        ("size=512", ["size"]),
        ("rarity=Z&seed=x&size=1", ["rarity", "seed", "size"]),
        ("seed", ["query"]),
        ("&&&", ["query"]),
        ("seed=%ff", ["query"]),
        ("seed=%e9t%e9", ["query"]),
        ("%00=1", ["\0"]),
        ("&".join(f"a{n}=1" for n in range(40)), ["query"]),
    ],
)
def test_nonsense_in_the_query_is_named(bench: Bench, query: str, fields: list[str]) -> None:
    answer = bench.client.get(f"/v1/generate?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST")
    assert sorted(mistake["field"] for mistake in answer.json()["errors"]) == fields


def test_every_message_is_in_the_language_asked_for(bench: Bench) -> None:
    path = "/v1/generate?rarity=Z&seed=-1&size=1"
    french = bench.client.get(path).json()
    english = bench.client.get(path, headers={"Accept-Language": "en"}).json()
    assert french["title"] == "Requête invalide"
    assert english["title"] == "Invalid request"
    assert [mistake["message"] for mistake in english["errors"]] == [
        "must be one of: F, E, D, C, B, A, S, S+",
        "must be at least 0",
        "unknown field",
    ]
    assert french["errors"][1]["message"] == "doit valoir au moins 0"


def test_the_largest_seed_is_a_seed(bench: Bench) -> None:
    assert bench.client.get("/v1/generate?seed=9007199254740991").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_told_what_is_allowed(bench: Bench, method: str) -> None:
    answer = bench.client.request(method, "/v1/generate")
    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/generate/", "/V1/GENERATE", "/health/", "/%00", "/..%2f..%2fetc"])
def test_unknown_paths_are_not_found(bench: Bench, path: str) -> None:
    answer = bench.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_health_has_exactly_three_members(bench: Bench) -> None:
    answer = bench.client.get("/health")
    body = answer.json()
    assert list(body) == ["status", "time", "backend"]
    assert (body["status"], body["backend"]) == ("ok", "files")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["time"])


def test_a_failure_inside_is_told_in_the_documents_form_and_logged_once(tmp_path: Path) -> None:
    with app_under_test(tmp_path, OPEN) as bench:
        route = next(route for route in bench.app.routes if getattr(route, "path", "") == "/v1/generate")
        route.endpoint._hatchery._shelves.clear()  # type: ignore[attr-defined]
        answer = bench.client.get("/v1/generate")
        assert (answer.status_code, answer.json()["code"]) == (500, "GENERATION_FAILED")
        assert "KeyError" not in answer.text
        (line,) = bench.lines()
        assert (line["level"], line["status"]) == ("error", 500)
        assert "KeyError" in line["exception"]


def test_browsers_of_named_origins_may_read_answers(tmp_path: Path) -> None:
    with app_under_test(
        tmp_path, {"MINIMON_CORS_ORIGINS": "https://game.example", "MINIMON_BEARER_TOKEN": "t"}
    ) as bench:
        ours = {"Origin": "https://game.example"}
        asked = ours | {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        preflight = bench.client.options("/v1/generate", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://game.example"
        answer = bench.client.get("/v1/generate", headers=ours | {"Authorization": "Bearer t"})
        assert answer.headers["access-control-allow-origin"] == "https://game.example"
        assert "X-Minimon-Name" in answer.headers["access-control-expose-headers"]
        refused = bench.client.get("/v1/generate", headers=ours)
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://game.example"
        theirs = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET", "Accept-Language": "en"}
        refused = bench.client.options("/v1/generate", headers=theirs)
        assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["vary"] == "Origin, Accept-Language"
        assert refused.json()["requestId"] == refused.headers["x-request-id"]
        assert "not allowed to pages from elsewhere" in refused.json()["detail"]
        for more in ({"Access-Control-Request-Method": "PATCH"}, {"Access-Control-Request-Headers": "X-Mine"}):
            assert bench.client.options("/v1/generate", headers=asked | more).status_code == 403
        assert bench.tally.errors["FORBIDDEN"] == 3
        assert "access-control-allow-origin" not in bench.client.options("/v1/generate", headers=theirs).headers


def test_without_the_setting_no_origin_is_named(bench: Bench) -> None:
    answer = bench.client.get("/v1/generate", headers={"Origin": "https://game.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
