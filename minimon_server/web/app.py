"""The application: routes, layers and error handlers put together. Owns no state and listens nowhere."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Lifespan
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from minimon_server.creatures.dice import Dice
from minimon_server.creatures.drawn import DrawnCreatures
from minimon_server.creatures.hatchery import Hatchery
from minimon_server.creatures.naming import LocalNames, NameSource
from minimon_server.creatures.stock import Stock
from minimon_server.errors import MethodNotAllowed, MinimonError, NotFound
from minimon_server.logs import Lines
from minimon_server.scores.notary import Notary
from minimon_server.settings import Settings
from minimon_server.times import Clock
from minimon_server.web import again, cors, generate, health, metrics, pages, readiness
from minimon_server.web.drawn import GenerateDrawn
from minimon_server.web.gate import Access, Cost, Face, Gate
from minimon_server.web.limits import RateTable
from minimon_server.web.observe import Observe, TellErrors
from minimon_server.web.signed_creatures import Signatory
from minimon_server.web.tally import Tally


def make_app(
    settings: Settings,
    hatchery: Hatchery | None,
    lines: Lines,
    *,
    lifespan: Lifespan[Starlette] | None = None,
    dice: Dice | None = None,
    names: NameSource | None = None,
    ready: readiness.Readiness | None = None,
    faces: Sequence[Face] = (),
    sources: Sequence[metrics.Source] = (),
    tally: Tally | None = None,
    drawn: DrawnCreatures | None = None,
    stock: Stock | None = None,
    notary: Notary | None = None,
) -> Starlette:
    """Return the whole application; without `names` they are local.

    Creatures come from `stock` and `drawn`, else from the hatchery; `notary` signs them.
    `faces` are the routes of further parts, `sources` what else `/metrics` tells.
    """
    clock, tally, names = Clock(), tally or Tally(), names or LocalNames()
    ready = ready or readiness.Readiness({})
    answers = generate.Answers(settings, clock, tally, signatory=Signatory(notary))
    dice = dice or Dice()
    if drawn is not None:
        hatch: generate.Generate | GenerateDrawn = GenerateDrawn(drawn, stock, answers, dice, tally)
    else:
        hatch = _from_files(hatchery, names, answers, dice, tally)
    told = metrics.Metrics([*metrics.usual(tally, settings, names, ready), *sources])
    routes = [
        Face("/v1/generate", hatch, access=Access.PLAY, cost=Cost.CREATE, guide=generate.GUIDE),
        again.face(answers),
        health.face(settings, clock),
        Face("/ready", ready.answer, guide=readiness.GUIDE),
        Face("/metrics", told.answer, guide=metrics.GUIDE),
    ]
    routes += faces
    routes += pages.faces(routes, settings)
    return App(
        routes=routes,
        middleware=_layers(settings, routes, lines, tally),
        exception_handlers={HTTPException: _raise_as_ours},
        lifespan=lifespan,
    )


def _from_files(
    hatchery: Hatchery | None, names: NameSource, answers: generate.Answers, dice: Dice, tally: Tally
) -> generate.Generate:
    assert hatchery is not None, "creatures come from files, or are drawn"
    return generate.Generate(hatchery, names, answers, dice, tally)


class App(Starlette):
    """Starlette without its outermost layer, which would answer and log errors a second time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # A redirect would carry the client's Host header back to it, and hide a misspelt path.
        self.router.redirect_slashes = False

    def build_middleware_stack(self) -> ASGIApp:
        """Put our layers around the router; `TellErrors` and `Observe` are what `ServerErrorMiddleware` would be."""
        app: ASGIApp = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        for layer, arguments, options in reversed(self.user_middleware):
            app = layer(app, *arguments, **options)
        return app


def request_ids() -> Callable[[], str]:
    """Return what gives sixteen hexadecimal digits a call: eight of this process, eight that count.

    They name a request in the log; they keep no secret, so they need no randomness of their own.
    """
    process, numbers = secrets.token_hex(4), itertools.count(1)
    return lambda: f"{process}{next(numbers) & 0xFFFFFFFF:08x}"


def _layers(settings: Settings, routes: Sequence[BaseRoute], lines: Lines, tally: Tally) -> list[Middleware]:
    """Return what a request passes on its way to its endpoint, the outermost layer first."""
    return [
        *_proxies(settings),
        Middleware(Observe, lines=lines, tally=tally, new_id=request_ids(), log_bodies=settings.log_request_body),
        *cors.layers(settings, tally),
        Middleware(TellErrors, tally=tally),
        Middleware(Gate, settings=settings, routes=routes, table=RateTable()),
    ]


def _proxies(settings: Settings) -> list[Middleware]:
    """Believe `X-Forwarded-For` from the proxies that the operator names, in their IPv4-in-IPv6 form too."""
    if not settings.trusted_proxies:
        return []
    trusted = []
    for network in settings.trusted_proxies:
        address, _, length = network.partition("/")
        trusted.append(network)
        if ":" not in address:
            trusted.append(f"::ffff:{address}/{96 + int(length)}")
    return [Middleware(ProxyHeadersMiddleware, trusted_hosts=trusted)]


async def _raise_as_ours(request: Request, error: Exception) -> Response:
    """Turn Starlette's own errors into ours; there are two: no such path, and no such method for it."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        raise NotFound from error
    if error.status_code == 405:
        path = request.scope["path"]
        faces = [route for route in request.app.routes if isinstance(route, Face) and route.path_regex.match(path)]
        methods = {method for face in faces for method in face.methods or ()}
        raise MethodNotAllowed(headers={"Allow": ", ".join(sorted(methods))}) from error
    raise MinimonError from error
