"""How an error is told: RFC 9457 problem details in the client's language. Decides nothing about what is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Scope

from minimon_server.errors import Language, MinimonError

MEDIA_TYPE: Final = "application/problem+json"
_QUALITY: Final = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$")


def problem(error: MinimonError, scope: Scope) -> Response:
    """Return the answer that tells `error` to whoever asked with `scope`.

    Members: type, title, status, detail (RFC 9457, section 3.1), code, requestId, and errors when fields are wrong.
    """
    language = spoken_language(header(scope, b"accept-language"))
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title.spoken(language),
        "status": error.status,
        "detail": error.detail.spoken(language),
        "code": error.code,
    }
    if request_id := scope.get("minimon.request_id"):
        body["requestId"] = request_id
    if error.fields:
        body["errors"] = [{"field": f.field, "message": f.message.spoken(language)} for f in error.fields]
    headers = {
        "Content-Language": language,
        "Cache-Control": "no-store",
        "Vary": "Accept-Language",
        **error.headers,
    }
    return Response(orjson.dumps(body), error.status, headers, MEDIA_TYPE)


def last_answer(error: MinimonError, scope: Scope, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Return that answer as the bytes of an HTTP/1.1 response after which the connection closes."""
    answer = problem(error, scope)
    request_id: str = scope["minimon.request_id"]
    ours = (
        (b"x-request-id", request_id.encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    )
    pieces = [b"HTTP/1.1 %d %s\r\n" % (error.status, HTTPStatus(error.status).phrase.encode("ascii"))]
    for name, value in (*more, *answer.raw_headers, *ours):
        pieces += [name, b": ", value, b"\r\n"]
    return b"".join([*pieces, b"\r\n", bytes(answer.body)])


def header(scope: Scope, name: bytes) -> bytes:
    """Return the values of a request header, joined by commas as RFC 9110, section 5.3 allows; b"" when absent."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0] if len(values) == 1 else b", ".join(values)


def headers_of(scope: Scope, name: bytes) -> list[bytes]:
    """Return every value of a request header, as they came."""
    return [value for key, value in scope["headers"] if key == name]


def spoken_language(accept_language: bytes) -> Language:
    """Choose French or English by RFC 9110, section 12.5.4.

    French when the client asks for nothing, for anything, or rather for French; English for any other wish.
    """
    best: dict[str, float] = {}
    for tag, quality in weighted(accept_language):
        primary = tag.partition("-")[0]
        best[primary] = max(best.get(primary, 0.0), quality)
    if not best:
        return "fr"
    french, english = best.get("fr", best.get("*", 0.0)), best.get("en", 0.0)
    return "fr" if french > 0 and french >= english else "en"


def weighted(field: bytes) -> Iterable[tuple[str, float]]:
    """Yield (lower-case value, quality) of a list such as `fr;q=0.8, en`; members that cannot be read are left out."""
    for member in field[:1024].decode("latin-1").lower().split(","):
        value, _, parameters = member.partition(";")
        quality = 1.0
        if parameters.strip():
            match = _QUALITY.search(parameters.replace(" ", ""))
            quality = float(match[1]) if match else (0.0 if "q=" in parameters else 1.0)
        if value.strip():
            yield value.strip(), quality
