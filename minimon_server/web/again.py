"""`GET /v1/creatures/{id}`: a creature that was given out a moment ago, once more. Makes none."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from minimon_server.errors import NotFound, SigningUnavailable, Text
from minimon_server.web.gate import Access, Cost, Face
from minimon_server.web.generate import ANSWERS, Answers
from minimon_server.web.guide import Guide
from minimon_server.web.schemas import CreatureQuery
from minimon_server.web.validation import read_query

_NONE: Final = Text(
    "Aucune créature n'a été donnée sous cet identifiant depuis peu.",
    "No creature was given out under this id a moment ago.",
)

GUIDE: Final = Guide(
    summary=Text("Une créature déjà donnée, encore une fois.", "A creature that was given out, once more."),
    detail=Text(
        "Pour qui a perdu la réponse : la même image, le même nom, la même heure, pendant un quart d'heure ; moins "
        "longtemps au-delà de 1000 créatures ou de 64 Mio.",
        "For whoever has lost the answer: the same picture, name and time, for a quarter of an hour; for less "
        "beyond 1,000 creatures or 64 MiB.",
    ),
    query=CreatureQuery,
    path={"creature_id": Text("L'id que la réponse a donné.", "The id that the answer gave.")},
    answers=ANSWERS,
    errors=(NotFound, SigningUnavailable),
    samples=("-k {token}{base}/v1/creatures/$CREATURE_ID",),
)


class Again:
    """The endpoint, as a plain ASGI application: it sends what `Generate` sends."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        sign = read_query(scope, CreatureQuery).sign == "1"
        given = self._answers.recent.find(str(Request(scope).path_params["creature_id"]))
        if given is None:
            raise NotFound(_NONE)
        await self._answers.tell(scope, send, given, sign=sign)


def face(answers: Answers) -> Face:
    """Return the route: for whoever may have creatures made, and cheaper."""
    return Face("/v1/creatures/{creature_id}", Again(answers), access=Access.PLAY, cost=Cost.READ, guide=GUIDE)
