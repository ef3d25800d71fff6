"""`POST /v1/certify-score` and `/v1/verify-score`: requests read, answers sent. Signs and judges nothing itself."""

from __future__ import annotations

import re
from typing import Final

import orjson
from starlette.types import Receive, Scope, Send

from minimon_server.errors import (
    Conflict,
    FieldMistake,
    IdempotencyMismatch,
    InvalidRequest,
    PayloadTooLarge,
    SigningUnavailable,
    Text,
    UnsupportedMediaType,
)
from minimon_server.scores.certify import Scores
from minimon_server.scores.claim import read_claim
from minimon_server.scores.signed import read_signed
from minimon_server.scores.signing import Form
from minimon_server.scores.verify import REASONS
from minimon_server.web.bodies import read_json_body
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.observe import note
from minimon_server.web.problems import header, headers_of, spoken_language
from minimon_server.web.score_schemas import CertifiedAnswer, CertifyQuery, ClaimBody, SignedToVerify, VerdictAnswer
from minimon_server.web.validation import read_query

_HEADERS: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_KEY: Final = re.compile(rb"[!-~]{1,255}")

CERTIFY_GUIDE: Final = Guide(
    summary=Text("Un score signé, inscrit au registre.", "A score, signed and written into the ledger."),
    detail=Text(
        "La réponse part quand l'inscription est sur le disque. Avec `Idempotency-Key`, la même demande rend les mêmes "
        "octets, même après un redémarrage.",
        "The answer leaves when the record is on disk. With an `Idempotency-Key` the same request gives the same bytes "
        "again, also after a restart.",
    ),
    query=CertifyQuery,
    body=ClaimBody,
    headers={
        "Idempotency-Key": Text(
            "1 à 255 caractères ASCII visibles, au choix du client.", "1 to 255 visible ASCII characters of your own."
        )
    },
    answers=(Answer(Text("Le score certifié.", "The certified score."), {"application/json": CertifiedAnswer}),),
    errors=(Conflict, IdempotencyMismatch, PayloadTooLarge, SigningUnavailable, UnsupportedMediaType),
    samples=(
        "-k {token}{base}/v1/certify-score -H 'Content-Type: application/json' "
        '-d \'{{"score": 123.4, "subject": "player42"}}\'',
    ),
)
VERIFY_GUIDE: Final = Guide(
    summary=Text("Un score signé est-il vrai ?", "Does a signed score hold?"),
    detail=Text(
        "Prend l'objet `signed`, ou toute la réponse qui le contient. Se vérifie aussi sans ce serveur : voir "
        "docs/scores.md.",
        "Takes the object `signed`, or the whole answer that holds it. Can be checked without this server too: see "
        "docs/scores.md.",
    ),
    body=SignedToVerify,
    answers=(Answer(Text("Le verdict.", "The verdict."), {"application/json": VerdictAnswer}),),
    errors=(PayloadTooLarge, SigningUnavailable, UnsupportedMediaType),
    samples=("-k {base}/v1/verify-score -H 'Content-Type: application/json' -d @certified.json",),
)


class Certify:
    """The endpoint that certifies, as a plain ASGI application: game back ends call it for every match."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        form: Form = read_query(scope, CertifyQuery).signature if scope["query_string"] else "native"
        key = _idempotency_key(scope)
        claim = read_claim(await read_json_body(scope, receive))
        answer = await self._scores.certify(claim, form, key)
        note(scope, score_id=answer[28:56].decode("ascii"))
        await _send(send, answer)


class Verify:
    """The endpoint that judges."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        signed = read_signed(await read_json_body(scope, receive))
        verdict, record = await self._scores.verify(signed)
        language = spoken_language(header(scope, b"accept-language"))
        told = REASONS[verdict.reason].spoken(language) if verdict.reason else None
        body = {
            "valid": verdict.valid,
            "reason": verdict.reason,
            "detail": told,
            "keyId": verdict.key_id,
            "recorded": record is not None,
            "index": record,
        }
        await _send(send, orjson.dumps(body), [(b"content-language", language.encode()), (b"vary", b"Accept-Language")])


def _idempotency_key(scope: Scope) -> str | None:
    values = headers_of(scope, b"idempotency-key")
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise InvalidRequest(
            fields=[
                FieldMistake(
                    "Idempotency-Key",
                    Text("une fois, 1 à 255 caractères ASCII visibles", "once, 1 to 255 visible ASCII characters"),
                )
            ]
        )
    return values[0].decode("ascii")


async def _send(send: Send, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    head = [*_HEADERS, *(headers or []), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
