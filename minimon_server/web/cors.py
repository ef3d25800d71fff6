"""Which web pages may call: Starlette's CORS, with refusals told as all others are. Checks no token.

A preflight passes before the gate: browsers send it without a token, and would show a page that is over its limit no
429 but a riddle, as the answer to a preflight is never shown. It costs a lookup in a set, and makes nothing.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from minimon_server.errors import Forbidden, Text
from minimon_server.settings import Settings
from minimon_server.web.problems import problem
from minimon_server.web.tally import Tally

METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
ALLOWED_HEADERS: Final = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID")
EXPOSED_HEADERS: Final = (
    "Location",
    "Retry-After",
    "X-Generation-Metadata",
    "X-Job-ID",
    "X-Minimon-Generated-At",
    "X-Minimon-Id",
    "X-Minimon-Name",
    "X-Minimon-Rarity",
    "X-Request-ID",
)

_REFUSED: Final = Text(
    "Cette origine, cette méthode ou un en-tête annoncé n'est pas permis aux pages d'ailleurs ; MINIMON_CORS_ORIGINS "
    "nomme les origines.",
    "This origin, this method or a header that was announced is not allowed to pages from elsewhere; "
    "MINIMON_CORS_ORIGINS names the origins.",
)


def layers(settings: Settings, tally: Tally) -> list[Middleware]:
    """Return the layer that lets pages of other origins in, if the operator names any."""
    if not settings.cors_origins:
        return []
    return [Middleware(Cors, settings=settings, tally=tally)]


class Cors(CORSMiddleware):
    """Starlette's answers, but that a preflight that fails is problem details and not a line of text."""

    def __init__(self, app: ASGIApp, *, settings: Settings, tally: Tally) -> None:
        super().__init__(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=ALLOWED_HEADERS,
            expose_headers=EXPOSED_HEADERS,
        )
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer a preflight."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            asked = Headers(scope=scope)
            if "origin" in asked and "access-control-request-method" in asked:
                answer = self.preflight_response(asked)
                if answer.status_code >= 400:
                    self._tally.errors[Forbidden.code] += 1
                    answer = problem(Forbidden(_REFUSED, headers={"Vary": "Origin, Accept-Language"}), scope)
                await answer(scope, receive, send)
                return
        await super().__call__(scope, receive, send)
