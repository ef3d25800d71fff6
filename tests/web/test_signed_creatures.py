"""Creatures that a game can trust: `sign=1`, what openssl and the server say of it, and what was tampered with."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from starlette.testclient import TestClient

import gen_server
from tests.crayon import Crayon, drawing_with
from tests.scores import openssl
from tests.scores.openssl import needs_openssl
from tests.support import app_under_test, settings_for, write_pictures
from tests.web.drawn_scene import drawn

ENGLISH = {"Accept-Language": "en"}
ID = "mnm_0123456789abcdef01234567"


@dataclass(frozen=True)
class Game:
    """A whole server that serves files, and its client."""

    client: TestClient
    folder: Path

    def ask(self, query: str = "sign=1", **headers: str) -> Any:
        answer = self.client.get(f"/v1/generate?{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer

    def verdict(self, signed: object) -> dict[str, Any]:
        answer = self.client.post("/v1/verify-creature", json=signed, headers=ENGLISH)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["valid"] is (found["reason"] is None) is (found["creature"] is not None)
        return dict(found)


@contextmanager
def game_at(folder: Path, key: bytes | None = None) -> Iterator[Game]:
    write_pictures(folder / "minimon")
    settings = settings_for(folder, MINIMON_RATE_LIMIT_PER_MIN="0")
    if key is not None:
        settings.signing_key_path.parent.mkdir(parents=True, exist_ok=True)
        settings.signing_key_path.write_bytes(key)
        settings.signing_key_path.chmod(0o600)
    server = gen_server.build(settings, {})
    try:
        with TestClient(server.app, base_url="https://testserver") as client:
            yield Game(client, folder)
    finally:
        server.sink.close()


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Game]:
    with game_at(tmp_path_factory.mktemp("game")) as made:
        yield made


def test_what_is_signed_is_the_creature_its_time_and_the_bytes_of_its_picture(game: Game) -> None:
    told = game.ask("sign=1&rarity=S%2B").json()
    assert list(told) == ["imageBase64", "metadata", "generatedAt", "signed"]
    signed = told["signed"]
    payload = signed["payload"]
    assert payload == {
        **told["metadata"],
        "generatedAt": told["generatedAt"],
        "pictureSha256": sha256(base64.b64decode(told["imageBase64"])).hexdigest(),
        "type": "creature",
    }
    assert base64.b64decode(signed["canonicalB64"]) == rfc8785.dumps(payload)
    verdict = game.verdict(signed)
    assert verdict["valid"]
    assert verdict["creature"] == {name: value for name, value in payload.items() if name != "type"}
    (key,) = [one for one in game.client.get("/.well-known/jwks.json").json()["keys"] if one["kid"] == verdict["keyId"]]
    assert key["minimon:purpose"] == "score"
    assert "signed" not in game.ask("sign=0").json()


@needs_openssl
@pytest.mark.parametrize("kind", ["P-256", "Ed25519", "RSA-2048"])
def test_openssl_verifies_it_with_the_public_key_alone(tmp_path: Path, kind: str) -> None:
    with game_at(tmp_path, openssl.private_pem(kind)) as own:
        signed = own.ask().json()["signed"]
    canonical, signature = base64.b64decode(signed["canonicalB64"]), base64.b64decode(signed["signatureB64"])
    assert openssl.accepts(tmp_path, kind, canonical, signature)
    assert not openssl.accepts(tmp_path, kind, canonical.replace(b"creature", b"creaturf"), signature)


def test_the_bare_picture_brings_it_in_a_header(game: Game) -> None:
    bare = game.ask("sign=1&seed=3", Accept="image/png")
    signed = json.loads(base64.b64decode(bare.headers["x-minimon-signed"], validate=True))
    assert signed["payload"]["pictureSha256"] == sha256(bare.content).hexdigest()
    assert signed["payload"]["id"] == bare.headers["x-minimon-id"]
    assert game.verdict(signed)["valid"]
    assert "x-minimon-signed" not in game.ask("seed=3", Accept="image/png").headers


def test_a_creature_that_was_given_out_is_signed_again(game: Game) -> None:
    first = game.ask("seed=8").json()
    where = f"/v1/creatures/{first['metadata']['id']}"
    again = game.client.get(f"{where}?sign=1").json()
    signed = again.pop("signed")
    assert again == first
    assert game.verdict(signed)["creature"]["generatedAt"] == first["generatedAt"]
    assert game.client.get(f"{where}?sign=2").status_code == 422


def test_whatever_is_changed_is_seen(game: Game) -> None:
    signed = game.ask("sign=1&rarity=F").json()["signed"]
    better = {**signed["payload"], "rarity": "S+"}
    assert game.verdict({**signed, "payload": better})["reason"] == "PAYLOAD_MISMATCH"
    forged = base64.b64encode(rfc8785.dumps(better)).decode()
    assert game.verdict({**signed, "payload": better, "canonicalB64": forged})["reason"] == "SIGNATURE_INVALID"
    other = game.ask().json()["signed"]
    assert game.verdict({**signed, "signatureB64": other["signatureB64"]})["reason"] == "SIGNATURE_INVALID"
    assert game.verdict({**signed, "algorithm": "EdDSA"})["reason"] == "UNKNOWN_KEY"
    refused = game.client.post("/v1/verify-creature", json={**signed, "x": 1}, headers=ENGLISH)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "x")


def test_a_score_is_no_creature_and_a_creature_no_score(game: Game) -> None:
    claim = {"score": 1, "subject": "ann"}
    score = game.client.post("/v1/certify-score", json=claim).json()["signed"]
    assert game.verdict(score)["reason"] == "NOT_THIS_KIND"
    creature = game.ask().json()["signed"]
    judged = game.client.post("/v1/verify-score", json=creature).json()
    assert (judged["valid"], judged["reason"]) == (False, "NOT_A_SCORE")


def test_a_drawn_creature_is_signed_with_the_name_that_it_has(tmp_path: Path) -> None:
    with drawn(tmp_path, tmp_path, drawing_with(Crayon()), SDXL_TURBO_MODEL="tiny") as scene:
        scene.wait_until_ready()
        told = scene.client.get("/v1/generate?sign=1").json()
        verdict = scene.client.post("/v1/verify-creature", json=told["signed"]).json()
        assert verdict["creature"]["name"] == told["metadata"]["name"]
        assert verdict["creature"]["pictureSha256"] == sha256(base64.b64decode(told["imageBase64"])).hexdigest()


def test_without_a_key_nothing_is_made_and_the_error_says_so(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        answer = bench.client.get("/v1/generate?sign=1", headers=ENGLISH)
        assert (answer.status_code, answer.json()["code"]) == (503, "SIGNING_UNAVAILABLE")
        assert answer.json()["detail"] == "This server has no key to sign with."
        assert not any(bench.tally.creatures.values())
