"""`GET /openapi.json` and `GET /docs`: made once at the start, in both languages. Writes neither of the two itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from minimon_server.errors import Language, Text
from minimon_server.settings import Settings
from minimon_server.web import openapi, reference
from minimon_server.web.gate import Access, Cost, Face
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.problems import header, spoken_language

_LANGUAGES: Final[tuple[Language, ...]] = ("fr", "en")

_OPENAPI_GUIDE: Final = Guide(
    summary=Text("Ce document, en OpenAPI 3.1.", "This document, as OpenAPI 3.1."),
    detail=Text(
        "Fait des modèles mêmes qui valident les requêtes ; en français, ou en anglais selon `Accept-Language`.",
        "Made from the very models that validate requests; in French, or in English by `Accept-Language`.",
    ),
    answers=(Answer(Text("Le document.", "The document."), {"application/json": "object"}),),
    samples=("-k {token}{base}/openapi.json",),
)
_DOCS_GUIDE: Final = Guide(
    summary=Text("Cette page.", "This page."),
    detail=Text("Marche hors ligne, sans script.", "Works offline, without scripts."),
    answers=(Answer(Text("La page.", "The page."), {"text/html": "text"}),),
    samples=("-k {base}/docs -o docs.html",),
)


class Page:
    """One document in two languages, as bytes that lie ready."""

    def __init__(self, media_type: str, headers: Mapping[str, str]) -> None:
        self._media_type = media_type
        self._headers = {"Cache-Control": "no-cache", "Vary": "Accept-Language", **headers}
        self.told: dict[Language, bytes] = {}

    async def answer(self, request: Request) -> Response:
        """Answer one request in its language."""
        language = spoken_language(header(request.scope, b"accept-language"))
        headers = self._headers | {"Content-Language": language}
        return Response(self.told[language], headers=headers, media_type=self._media_type)


def faces(others: Sequence[Face], settings: Settings) -> list[Face]:
    """Return the faces of both documents, which tell of `others` and of themselves."""
    style = base64.b64encode(sha256(reference.STYLE.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    machine = Page("application/json", {})
    human = Page(
        "text/html",
        {
            "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
        },
    )
    ours = [
        Face("/openapi.json", machine.answer, guide=_OPENAPI_GUIDE),
        Face("/docs", human.answer, access=Access.OPEN, cost=Cost.READ, guide=_DOCS_GUIDE),
    ]
    for language in _LANGUAGES:
        document = openapi.document([*others, *ours], settings, language)
        machine.told[language] = orjson.dumps(document)
        human.told[language] = reference.page(document, language).encode("utf-8")
    return ours
