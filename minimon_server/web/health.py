"""`GET /health`: alive means it answers. Says nothing about whether the server can do its work."""

from __future__ import annotations

from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from minimon_server.errors import Text
from minimon_server.settings import Settings
from minimon_server.times import Clock
from minimon_server.web.gate import Access, Cost, Face
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.schemas import HealthAnswer

GUIDE: Final = Guide(
    summary=Text("Vivant veut dire qu'il répond.", "Alive means it answers."),
    answers=(Answer(Text("Il répond.", "It answers."), {"application/json": HealthAnswer}),),
    samples=("-k {base}/health",),
)


def face(settings: Settings, clock: Clock) -> Face:
    """Return the route: open to all, and never limited."""
    return Face("/health", Health(settings, clock).answer, access=Access.OPEN, cost=Cost.FREE, guide=GUIDE)


class Health:
    """Answers with exactly the three members of the contract."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._backend = settings.generation_backend
        self._clock = clock

    async def answer(self, _: Request) -> Response:
        """Answer one request."""
        body = {"status": "ok", "time": self._clock.now(), "backend": self._backend}
        return Response(orjson.dumps(body), headers={"Cache-Control": "no-store"}, media_type="application/json")
