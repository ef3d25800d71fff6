"""The OpenAPI document: valid, made of what validates, true to the settings; and the page that is made of it."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from minimon_server.errors import Language, Text
from minimon_server.web.gate import Face
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.openapi import document
from minimon_server.web.reference import page
from tests.support import app_under_test, settings_for

TOKENS = {"MINIMON_BEARER_TOKEN": "hush", "MINIMON_PLAY_TOKEN": "hush-too"}
FULL = {"Authorization": "Bearer hush"}


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("environ", [{}, TOKENS], ids=["open", "closed"])
def test_the_document_is_valid_and_tells_every_route(
    tmp_path: Path, language: Language, environ: dict[str, str]
) -> None:
    with app_under_test(tmp_path, environ) as bench:
        answer = bench.client.get("/openapi.json", headers={**FULL, "Accept-Language": language})
        assert answer.headers["content-language"] == language
        told = answer.json()
        validate(told)
        assert "x-fr" not in answer.text
        assert "hush" not in answer.text
        assert list(told["paths"]) == [face.path for face in bench.app.routes if isinstance(face, Face)]


def test_parameters_are_those_that_validate(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        generate = bench.client.get("/openapi.json").json()["paths"]["/v1/generate"]["get"]
    rarity, seed, background, sign = generate["parameters"]
    assert "transparent" in str(background["schema"])
    assert sign["schema"]["enum"] == ["0", "1"]
    assert rarity["schema"] == {"$ref": "#/components/schemas/Rarity"}
    assert seed["schema"] == {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
    assert not rarity["required"]
    assert generate["responses"]["200"]["content"]["image/png"] == {}
    assert "X-Minimon-Rarity" in generate["responses"]["200"]["headers"]
    assert "GENERATION_FAILED" in generate["responses"]["500"]["description"]


def test_a_body_that_is_a_file_is_told_by_its_kinds(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        replay = bench.client.get("/openapi.json").json()["paths"]["/replay"]["post"]
        page = bench.client.get("/docs").text
    kinds = ["image/png", "image/webp", "image/jpeg", "image/avif"]
    assert list(replay["requestBody"]["content"]) == kinds
    assert {"413", "415", "422"} <= set(replay["responses"])
    section = page.partition('id="post-replay"')[2].partition("<section")[0]
    assert ", ".join(f"<code>{kind}</code>" for kind in kinds) in section


def test_security_follows_the_settings(tmp_path: Path) -> None:
    either: list[dict[str, list[str]]] = [{}, {"bearer": []}]
    for environ, generate, ready in (
        (dict[str, str](), either, either),
        (TOKENS, [{"bearer": []}, {"play": []}], [{"bearer": []}]),
    ):
        with app_under_test(tmp_path, environ) as bench:
            paths = bench.client.get("/openapi.json", headers=FULL).json()["paths"]
        assert paths["/v1/generate"]["get"]["security"] == generate
        assert paths["/ready"]["get"]["security"] == ready
        assert paths["/health"]["get"]["security"] == []
        assert ("401" in paths["/ready"]["get"]["responses"]) is bool(environ)
        assert "401" not in paths["/health"]["get"]["responses"]


class Wish(BaseModel):
    """A body that a later route may take."""

    prompt: str


async def nothing(_: Request) -> Response:
    """Answer nothing."""
    return Response()


def test_a_new_route_documents_itself(tmp_path: Path) -> None:
    guide = Guide(
        Text("Un <vœu>.", "A <wish>."),
        (Answer(Text("Fait.", "Done."), {"application/json": Wish}, status=202),),
        body=Wish,
        path={"id": Text("lequel", "which")},
        samples=("{base}/wishes/1",),
    )
    faces = [Face("/wishes/{id}", nothing, method="POST", guide=guide), Face("/hidden", nothing)]
    told: dict[str, Any] = document(faces, settings_for(tmp_path), "en")
    validate(told)
    assert list(told["paths"]) == ["/wishes/{id}"]
    post = told["paths"]["/wishes/{id}"]["post"]
    assert post["parameters"][0]["description"] == "which"
    assert post["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Wish")
    assert {"202", "422", "429"} <= set(post["responses"])
    html = page(told, "en")
    assert "A &lt;wish&gt;." in html
    assert "<wish>" not in html


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_page_is_open_and_needs_nothing_from_elsewhere(tmp_path: Path, language: Language) -> None:
    with app_under_test(tmp_path, TOKENS) as bench:
        answer = bench.client.get("/docs", headers={"Accept-Language": language})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        html = answer.text
        for face in bench.app.routes:
            assert isinstance(face, Face)
            assert f"<code>{face.path}</code>" in html
    assert f'<html lang="{language}">' in html
    assert html.count("<code>checks.*.ok</code>") == 1  # 503 of /ready has the form of its 200, and says so
    assert "hush" not in html
    assert not re.search(r"<(script|link|img|iframe|form)|style=|\son\w+=|url\(|@import", html)
    assert set(re.findall(r'(?:href|src)="(?!#)([^"]*)"', html)) == {"/openapi.json"}
    anchors, targets = re.findall(r'href="#([^"]*)"', html), re.findall(r'id="([^"]*)"', html)
    assert set(anchors) <= set(targets)
    assert len(targets) == len(set(targets))


def test_the_page_may_do_nothing_but_show_itself(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        answer = bench.client.get("/docs")
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"].split("; ")
    assert sorted(policy) == sorted(
        [
            "default-src 'none'",
            f"style-src 'sha256-{digest}'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_page_tells_what_a_body_may_hold_and_what_it_must(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        text = bench.client.get("/docs", headers={"Accept-Language": "en"}).text
    body = text[text.index('id="post-generate"') : text.index('id="get-status-job-id"')]
    assert "<code>prompt</code> <i>required</i>" in body
    # What may be null or left out is told by what it holds.
    assert "<td><code>steps</code></td><td>whole number from 1 to 150</td>" in body
    assert "<code>loras[].weight</code></td><td>number from -2 to 2" in body
    assert body.count("<i>required</i>") == 1
