"""Who comes in: tokens and allowances, checked before any handler. Closed by default: a path must say it is open."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Iterable
from enum import Enum
from hashlib import sha256
from typing import Final

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from minimon_server.errors import Forbidden, RateLimited, Text, Unauthorized
from minimon_server.settings import Settings
from minimon_server.web.guide import Guide
from minimon_server.web.limits import RateTable, address_key
from minimon_server.web.problems import header

READS_PER_CREATION: Final = 10
READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Access(Enum):
    """Whom a route is for."""

    OPEN = "anyone"
    PLAY = "the bearer token, or the play token for the bare path"
    FULL = "the bearer token"


class Cost(Enum):
    """Which allowance a request is taken from."""

    FREE = "none"
    READ = "ten times the limit"
    CREATE = "the limit"


class Face(Route):
    """A route that says whom it is for and what it costs; one that does not say is for the bearer token alone."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., object],
        *,
        method: str = "GET",
        access: Access = Access.FULL,
        cost: Cost | None = None,
        guide: Guide | None = None,
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.access = access
        self.cost = cost or _usual_cost(method)
        self.guide = guide


class Gate:
    """ASGI middleware: allowance, then token, then straight to the endpoint. Raises what `errors` names.

    The allowance comes first: guessing tokens costs as much as using one. A path without parameters needs no second
    search by the router: the gate has found its face already.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, routes: Iterable[BaseRoute], table: RateTable) -> None:
        self._app = app
        self._table = table
        self._limit = settings.rate_limit_per_min
        self._full = _digests(settings.bearer_token.get_secret_value())
        self._play = _digests(settings.play_token.get_secret_value())
        faces = [route for route in routes if isinstance(route, Face)]
        self._patterns = [face for face in faces if "{" in face.path]
        plain = [face for face in faces if "{" not in face.path]
        self._plain = {(method, face.path): face for face in plain for method in face.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        plain = self._plain.get((method, path))
        face = plain or self._patterned(method, path)
        if face:
            scope["minimon.route"] = face.path  # what the request is counted under
        self._check_allowance(scope, face.cost if face else _usual_cost(method))
        self._check_token(scope, face.access if face else Access.FULL)
        await (plain.app if plain else self._app)(scope, receive, send)

    def _patterned(self, method: str, path: str) -> Face | None:
        for face in self._patterns:
            if method in (face.methods or ()) and face.path_regex.match(path):
                return face
        return None

    def _check_allowance(self, scope: Scope, cost: Cost) -> None:
        limit = allowance(cost, self._limit)
        if not limit:
            return
        client = scope.get("client")
        who = address_key(client[0]) if client else b"local"
        if wait := self._table.take(cost.name[:1].encode() + who, limit):
            raise RateLimited(limit=limit, retry_after=math.ceil(wait))

    def _check_token(self, scope: Scope, access: Access) -> None:
        if not self._full or access is Access.OPEN:
            return
        offered = _offered_token(scope)
        if offered is None:
            raise Unauthorized(headers={"WWW-Authenticate": 'Bearer realm="minimon"'})
        digest = sha256(offered).digest()
        # Every comparison is made, whatever the first one says: time tells nothing.
        opens = [[hmac.compare_digest(digest, token) for token in tokens] for tokens in (self._full, self._play)]
        if any(opens[0]):
            return
        if not any(opens[1]):
            raise Unauthorized(
                Text("Ce jeton n'est pas connu.", "This token is not known."),
                headers={"WWW-Authenticate": 'Bearer realm="minimon", error="invalid_token"'},
            )
        if access is not Access.PLAY or scope["query_string"]:
            raise Forbidden(
                Text(
                    "Le jeton de jeu n'ouvre que GET /v1/generate, sans paramètre.",
                    "The play token opens GET /v1/generate without parameters, and nothing else.",
                ),
                headers={"WWW-Authenticate": 'Bearer realm="minimon", error="insufficient_scope"'},
            )


def allowance(cost: Cost, creations: int) -> int:
    """Return how many requests of this cost an address has a minute, if it has so many creations; 0: no limit."""
    if cost is Cost.CREATE:
        return creations
    return creations * READS_PER_CREATION if cost is Cost.READ else 0


def _usual_cost(method: str) -> Cost:
    return Cost.READ if method in READING_METHODS else Cost.CREATE


def _offered_token(scope: Scope) -> bytes | None:
    scheme, _, token = header(scope, b"authorization").partition(b" ")
    return token.strip(b" ") or None if scheme.lower() == b"bearer" else None


def _digests(token: str) -> tuple[bytes, ...]:
    """Return the digests of every form that clients send `token` in: UTF-8 as curl does, Latin-1 as many libraries."""
    if not token:
        return ()
    forms = {token.encode("utf-8")}
    if all(ord(mark) < 256 for mark in token):
        forms.add(token.encode("latin-1"))
    return tuple(sha256(form).digest() for form in forms)
