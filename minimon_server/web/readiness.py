"""`GET /ready`: whether this server should get requests now, and if not, why. Mends nothing, asks each part by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from minimon_server import __version__
from minimon_server.creatures.hatchery import Hatchery
from minimon_server.creatures.naming import NameSource
from minimon_server.errors import Language, Text
from minimon_server.settings import Settings
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.problems import header, spoken_language
from minimon_server.web.schemas import ReadyAnswer


@dataclass(frozen=True, slots=True)
class Choice:
    """A fact that the server chose by itself, and why it is this one."""

    chosen: object
    reason: Text


@dataclass(frozen=True, slots=True)
class Check:
    """What one part says of itself: facts and choices for the operator, and its trouble if it has one."""

    facts: Mapping[str, object] = field(default_factory=dict)
    trouble: Text | None = None


_ENDING: Final = Text("Le serveur s'arrête.", "The server is shutting down.")

GUIDE: Final = Guide(
    summary=Text("Prêt à servir, ou pourquoi pas.", "Ready to serve, or why not."),
    detail=Text(
        "503 dès le premier instant de l'arrêt : un répartiteur cesse d'envoyer, ce qui est accepté est encore servi. "
        "`checks` donne les faits de chaque partie, et la raison de ce que le serveur a choisi lui-même.",
        "503 from the first moment of a shutdown: a balancer stops sending, what was accepted is still answered. "
        "`checks` gives the facts of each part, and the reason of what the server chose by itself.",
    ),
    answers=(
        Answer(Text("Prêt.", "Ready."), {"application/json": ReadyAnswer}),
        Answer(
            Text("Pas prêt ; `reasons` dit pourquoi.", "Not ready; `reasons` says why."),
            {"application/json": ReadyAnswer},
            status=503,
        ),
    ),
    samples=("-k {token}{base}/ready",),
)


class Readiness:
    """Owned by whoever starts the server, who calls `end` when its end begins.

    Each check is called at each question: it is quick, waits for nothing and raises nothing.
    """

    def __init__(
        self, checks: Mapping[str, Callable[[], Check]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = {"process": self._process, **checks}
        self._clock = clock
        self._began = clock()
        self._ending = False

    def add(self, name: str, check: Callable[[], Check]) -> None:
        """Ask one more part, which is made later than the others."""
        self._checks[name] = check

    def end(self) -> None:
        """Be ready no more."""
        self._ending = True

    @property
    def is_ready(self) -> bool:
        """Whether every part is well and no end has begun."""
        return all(check().trouble is None for check in self._checks.values())

    async def answer(self, request: Request) -> Response:
        """Answer one request: 200 or 503, in the same form."""
        language = spoken_language(header(request.scope, b"accept-language"))
        checks = {name: check() for name, check in self._checks.items()}
        reasons = [check.trouble.spoken(language) for check in checks.values() if check.trouble]
        body: dict[str, Any] = {
            "ready": not reasons,
            "reasons": reasons,
            "checks": {name: _told(check, language) for name, check in checks.items()},
        }
        headers = {"Cache-Control": "no-store", "Content-Language": language, "Vary": "Accept-Language"}
        return Response(orjson.dumps(body), 503 if reasons else 200, headers, "application/json")

    def _process(self) -> Check:
        facts = {"version": __version__, "uptimeSeconds": int(self._clock() - self._began)}
        return Check(facts, _ENDING if self._ending else None)


def _told(check: Check, language: Language) -> dict[str, object]:
    facts = {
        name: {"chosen": fact.chosen, "reason": fact.reason.spoken(language)} if isinstance(fact, Choice) else fact
        for name, fact in check.facts.items()
    }
    return {"ok": check.trouble is None, **facts}


def usual(settings: Settings, hatchery: Hatchery | None, names: NameSource) -> dict[str, Callable[[], Check]]:
    """Return what `/ready` asks of every server; pictures are whole from the start, or there is no start."""
    count = {"count": len(hatchery.pictures)} if hatchery else {}
    pictures = Check({"backend": settings.generation_backend, **count})

    def named() -> Check:
        # A name server that fails is no trouble: every creature has its local name.
        if names.breaker is None:
            return Check({"backend": settings.name_backend})
        fallen = {reason.value: count for reason, count in names.fall_backs.items() if count}
        return Check({"backend": settings.name_backend, "breaker": names.breaker.value, "fallBacks": fallen})

    return {"pictures": lambda: pictures, "names": named}
