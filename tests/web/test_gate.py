"""The gate: closed by default, two tokens, allowances by address."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.routing import BaseRoute

from minimon_server.web.gate import Access, Face
from tests.support import app_under_test

FULL = {"MINIMON_BEARER_TOKEN": "full", "MINIMON_PLAY_TOKEN": "play"}
OPEN_PATHS = {"/health", "/docs"}


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"Authorization": b"Bearer " + token.encode("utf-8")}


def test_every_route_is_a_face_and_says_whom_it_is_for(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        routes: list[BaseRoute] = bench.app.routes
        assert routes
        assert all(isinstance(route, Face) for route in routes)
        assert {route.path for route in routes if isinstance(route, Face) and route.access is Access.OPEN} == OPEN_PATHS


def test_every_route_but_the_open_ones_wants_a_token(tmp_path: Path) -> None:
    with app_under_test(tmp_path, FULL | {"MINIMON_RATE_LIMIT_PER_MIN": "0"}) as bench:
        for route in bench.app.routes:
            assert isinstance(route, Face)
            for method in route.methods or ():
                answer = bench.client.request(method, route.path)
                assert (answer.status_code == 401) is (route.path not in OPEN_PATHS), (method, route.path)
                assert bench.client.request(method, route.path, headers=bearer("full")).status_code not in (401, 403)


def test_what_does_not_exist_is_closed_too(tmp_path: Path) -> None:
    with app_under_test(tmp_path, FULL) as bench:
        assert bench.client.get("/nowhere").status_code == 401
        assert bench.client.post("/health").status_code == 401
        assert bench.client.get("/nowhere", headers=bearer("full")).status_code == 404
        assert bench.client.get("/health/").status_code == 401
        assert bench.client.get("/v1/generate/").status_code == 401


def test_without_a_token_everything_is_open_whatever_is_sent(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        assert bench.client.get("/v1/generate?seed=1").status_code == 200
        assert bench.client.get("/v1/generate", headers=bearer("anything")).status_code == 200


@pytest.mark.parametrize(
    "header",
    [b"", b"Bearer", b"Bearer ", b"Basic ZnVsbDo=", b"full", b"Bearer FULL", b"Bearer full x", b"Bearerfull"],
)
def test_a_wrong_token_is_refused_with_a_challenge(tmp_path: Path, header: bytes) -> None:
    with app_under_test(tmp_path, FULL) as bench:
        answer = bench.client.get("/v1/generate", headers={b"Authorization": header})
        assert answer.status_code == 401
        assert answer.json()["code"] == "UNAUTHORIZED"
        assert answer.headers["www-authenticate"].startswith('Bearer realm="minimon"')


@pytest.mark.parametrize("header", [b"Bearer full", b"bearer full", b"BEARER   full", b"Bearer full  "])
def test_the_scheme_is_read_as_the_standard_says(tmp_path: Path, header: bytes) -> None:
    with app_under_test(tmp_path, FULL) as bench:
        assert bench.client.get("/v1/generate?seed=1", headers={b"Authorization": header}).status_code == 200


@pytest.mark.parametrize("odd", [b"\xff\xfe", "jeton é".encode(), b"x" * 5000, b"\x80"])
def test_odd_tokens_are_wrong_tokens(tmp_path: Path, odd: bytes) -> None:
    with app_under_test(tmp_path, FULL) as bench:
        assert bench.client.get("/v1/generate", headers={b"Authorization": b"Bearer " + odd}).status_code == 401


@pytest.mark.parametrize("token", ["sésame", "龍の鍵", "a b", 'q"uote'])
def test_any_utf8_text_is_a_token(tmp_path: Path, token: str) -> None:
    with app_under_test(tmp_path, {"MINIMON_BEARER_TOKEN": token}) as bench:
        assert bench.client.get("/v1/generate", headers=bearer(token)).status_code == 200


def test_a_client_that_sends_latin_1_is_understood(tmp_path: Path) -> None:
    with app_under_test(tmp_path, {"MINIMON_BEARER_TOKEN": "sésame"}) as bench:
        header = {b"Authorization": b"Bearer " + "sésame".encode("latin-1")}
        assert bench.client.get("/v1/generate", headers=header).status_code == 200


def test_two_authorization_headers_open_nothing(tmp_path: Path) -> None:
    with app_under_test(tmp_path, FULL) as bench:
        headers = [(b"Authorization", b"Bearer full"), (b"Authorization", b"Bearer wrong")]
        assert bench.client.get("/v1/generate", headers=headers).status_code == 401


def test_the_play_token_opens_a_bare_creature_and_nothing_else(tmp_path: Path) -> None:
    with app_under_test(tmp_path, FULL) as bench:
        play = bearer("play")
        assert bench.client.get("/v1/generate", headers=play).status_code == 200
        assert bench.client.get("/v1/generate", headers=play | {b"Accept": b"image/png"}).status_code == 200
        for path in (
            "/v1/generate?rarity=S",
            "/v1/generate?seed=1",
            "/v1/generate?x=1",
            "/nowhere",
            "/v1/certify-score",
        ):
            answer = bench.client.get(path, headers=play)
            assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), path
            assert "insufficient_scope" in answer.headers["www-authenticate"]
        assert bench.client.post("/v1/generate", headers=play).status_code == 403
        assert bench.client.get("/health", headers=play).status_code == 200


def test_creations_are_limited_and_told_when_to_come_back(tmp_path: Path) -> None:
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "3"}) as bench:
        assert [bench.client.get("/v1/generate").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        answer = bench.client.get("/v1/generate")
        assert answer.json()["code"] == "RATE_LIMITED"
        assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert bench.client.get("/health").status_code == 200


def test_reads_have_ten_times_as_much(tmp_path: Path) -> None:
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "2"}) as bench:
        assert [bench.client.get("/nowhere").status_code for _ in range(21)] == [404] * 20 + [429]
        assert bench.client.get("/v1/generate").status_code == 200


def test_health_is_never_limited_and_zero_turns_limits_off(tmp_path: Path) -> None:
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "1"}) as bench:
        assert {bench.client.get("/health").status_code for _ in range(50)} == {200}
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}) as bench:
        assert {bench.client.get("/v1/generate").status_code for _ in range(80)} == {200}


def test_guessing_tokens_costs_as_much_as_using_one(tmp_path: Path) -> None:
    with app_under_test(tmp_path, FULL | {"MINIMON_RATE_LIMIT_PER_MIN": "3"}) as bench:
        codes = [bench.client.get("/v1/generate", headers=bearer(f"guess {n}")).status_code for n in range(5)]
        assert codes == [401, 401, 401, 429, 429]


def test_a_forwarded_address_is_believed_only_from_a_trusted_proxy(tmp_path: Path) -> None:
    limit = {"MINIMON_RATE_LIMIT_PER_MIN": "1"}
    with app_under_test(tmp_path / "stranger", limit) as bench:
        codes = [
            bench.client.get("/v1/generate", headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code
            for n in range(3)
        ]
        assert codes == [200, 429, 429]
    with app_under_test(tmp_path / "proxy", limit | {"MINIMON_TRUSTED_PROXIES": "192.0.2.0/24"}) as bench:
        codes = [
            bench.client.get("/v1/generate", headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code
            for n in range(3)
        ]
        assert codes == [200, 200, 200]
        forged = {"X-Forwarded-For": "203.0.113.9, 198.51.100.0"}
        assert bench.client.get("/v1/generate", headers=forged).status_code == 429
        assert {line["client"] for line in bench.lines()} == {f"198.51.100.{n}" for n in range(3)}


def test_a_proxy_seen_through_ipv6_is_the_same_proxy(tmp_path: Path) -> None:
    environ = {"MINIMON_TRUSTED_PROXIES": "192.0.2.0/24"}
    with app_under_test(tmp_path, environ, client=("::ffff:192.0.2.7", 1)) as bench:
        bench.client.get("/health", headers={"X-Forwarded-For": "2001:db8::5"})
        assert bench.lines()[-1]["client"] == "2001:db8::5"


def test_neighbours_in_one_ipv6_network_share_an_allowance(tmp_path: Path) -> None:
    environ = {"MINIMON_RATE_LIMIT_PER_MIN": "1", "MINIMON_TRUSTED_PROXIES": "192.0.2.1"}
    with app_under_test(tmp_path, environ) as bench:
        addresses = ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1"]
        codes = [bench.client.get("/v1/generate", headers={"X-Forwarded-For": a}).status_code for a in addresses]
        assert codes == [200, 429, 200]
