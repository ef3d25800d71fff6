"""The public side of the ledger: scores, checkpoint, proofs, keys. Open to all, and proves rather than asserts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from minimon_server.errors import BadRequest, FieldMistake, InvalidRequest, NotFound, SigningUnavailable, Text
from minimon_server.scores import proofs
from minimon_server.scores.certify import Scores
from minimon_server.web.certify import CERTIFY_GUIDE, VERIFY_GUIDE, Certify, Verify
from minimon_server.web.gate import Access, Cost, Face
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.problems import header, weighted
from minimon_server.web.score_schemas import (
    SCORE_ID,
    CertifiedAnswer,
    ConsistencyAnswer,
    ConsistencyQuery,
    KeySetAnswer,
    ProofAnswer,
)
from minimon_server.web.validation import read_query

_ID: Final = re.compile(r"mnm_[0-9a-f]{24}")
_NO_STORE: Final = {"Cache-Control": "no-store"}
_ID_GUIDE: Final = {"score_id": Text("L'id d'un score certifié.", "The id of a certified score.")}
_ID_PATTERN: Final = {"score_id": SCORE_ID}

_SCORE: Final = Guide(
    summary=Text("Un score certifié, tel qu'il fut rendu.", "A certified score, as it was answered."),
    path=_ID_GUIDE,
    patterns=_ID_PATTERN,
    answers=(Answer(Text("Les mêmes octets.", "The same bytes."), {"application/json": CertifiedAnswer}),),
    errors=(BadRequest, NotFound, SigningUnavailable),
    samples=("-k {base}/v1/scores/mnm_0123456789abcdef01234567",),
)
_CHECKPOINT: Final = Guide(
    summary=Text("Ce que le registre dit de lui-même, signé.", "What the ledger says of itself, signed."),
    detail=Text(
        "Une note signée (C2SP tlog-checkpoint) : origine, nombre d'enregistrements, racine. Gardez-en une copie "
        "ailleurs : elle seule montre une réécriture par qui détient les clés.",
        "A signed note (C2SP tlog-checkpoint): origin, number of records, root. Keep a copy elsewhere: it alone shows "
        "a rewriting by whoever holds the keys.",
    ),
    answers=(Answer(Text("La note.", "The note."), {"text/plain": "text"}),),
    errors=(SigningUnavailable,),
    samples=("-k {base}/v1/ledger/checkpoint",),
)
_PROOF: Final = Guide(
    summary=Text("La preuve qu'un score est au registre.", "The proof that a score stands in the ledger."),
    detail=Text(
        "Le chemin de la RFC 6962 jusqu'à une racine signée. `Accept: text/plain` donne un tlog-proof (C2SP).",
        "RFC 6962's path up to a root that is signed. `Accept: text/plain` gives a C2SP tlog-proof.",
    ),
    path=_ID_GUIDE,
    patterns=_ID_PATTERN,
    answers=(Answer(Text("La preuve.", "The proof."), {"application/json": ProofAnswer, "text/plain": "text"}),),
    errors=(BadRequest, NotFound, SigningUnavailable),
    samples=("-k {base}/v1/ledger/proof/mnm_0123456789abcdef01234567",),
)
_CONSISTENCY: Final = Guide(
    summary=Text("La preuve que rien n'a été réécrit.", "The proof that nothing was rewritten."),
    detail=Text(
        "Entre deux tailles du registre (RFC 6962, section 2.1.2).",
        "Between two sizes of the ledger (RFC 6962, 2.1.2).",
    ),
    query=ConsistencyQuery,
    answers=(Answer(Text("La preuve.", "The proof."), {"application/json": ConsistencyAnswer}),),
    errors=(SigningUnavailable,),
    samples=("-k '{base}/v1/ledger/consistency?from=0&to=0'",),
)
_KEYS: Final = Guide(
    summary=Text("Toutes les clés publiques, anciennes comprises.", "All public keys, former ones too."),
    detail=Text("Un JSON Web Key Set (RFC 7517).", "A JSON Web Key Set (RFC 7517)."),
    answers=(Answer(Text("Les clés.", "The keys."), {"application/jwk-set+json": KeySetAnswer}),),
    errors=(SigningUnavailable,),
    samples=("-k {base}/.well-known/jwks.json",),
)


def faces(scores: Scores) -> Sequence[Face]:
    """Return every route that has to do with scores."""
    ledger = LedgerRoutes(scores)
    return [
        Face("/v1/certify-score", Certify(scores), method="POST", guide=CERTIFY_GUIDE),
        Face("/v1/verify-score", Verify(scores), method="POST", guide=VERIFY_GUIDE, access=Access.OPEN, cost=Cost.READ),
        Face("/v1/scores/{score_id}", ledger.score, guide=_SCORE, access=Access.OPEN, cost=Cost.READ),
        Face("/v1/ledger/checkpoint", ledger.checkpoint, guide=_CHECKPOINT, access=Access.OPEN, cost=Cost.READ),
        Face("/v1/ledger/proof/{score_id}", ledger.proof, guide=_PROOF, access=Access.OPEN, cost=Cost.READ),
        Face("/v1/ledger/consistency", ledger.consistency, guide=_CONSISTENCY, access=Access.OPEN, cost=Cost.READ),
        Face("/.well-known/jwks.json", ledger.keys, guide=_KEYS, access=Access.OPEN, cost=Cost.READ),
    ]


class LedgerRoutes:
    """The endpoints that read."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    async def score(self, request: Request) -> Response:
        """Answer with the certificate of one score."""
        answer = await self._scores.score(_score_id(request))
        return Response(answer, headers={"Cache-Control": "public, max-age=86400"}, media_type="application/json")

    async def checkpoint(self, _: Request) -> Response:
        """Answer with the present checkpoint."""
        checkpoint = (await self._scores.checkpoint())[1]
        return Response(checkpoint, headers=_NO_STORE, media_type="text/plain")

    async def proof(self, request: Request) -> Response:
        """Answer with an inclusion proof, as JSON or as a tlog-proof."""
        score_id = _score_id(request)
        proof = await self._scores.proof(score_id)
        headers = {**_NO_STORE, "Vary": "Accept"}
        if _wants_text(header(request.scope, b"accept")):
            return Response(proofs.as_text(proof), headers=headers, media_type="text/plain")
        return Response(orjson.dumps(proofs.as_json(proof, score_id)), headers=headers, media_type="application/json")

    async def consistency(self, request: Request) -> Response:
        """Answer with a consistency proof between two sizes."""
        asked = read_query(request.scope, ConsistencyQuery)
        size, checkpoint = await self._scores.checkpoint()
        new = size if asked.to is None else asked.to
        growth = await self._scores.growth(asked.from_, new)
        if growth is None:
            limit = Text(f"0 <= from <= to <= {size}", f"0 <= from <= to <= {size}")
            raise InvalidRequest(fields=[FieldMistake("from" if asked.from_ > new else "to", limit)])
        old_root, new_root, hashes = growth
        body = {
            "from": asked.from_,
            "to": new,
            "fromRootHash": proofs.b64(old_root),
            "toRootHash": proofs.b64(new_root),
            "hashes": [proofs.b64(step) for step in hashes],
            "checkpoint": checkpoint.decode("utf-8"),
        }
        return Response(orjson.dumps(body), headers=_NO_STORE, media_type="application/json")

    async def keys(self, _: Request) -> Response:
        """Answer with all public keys."""
        ring = await self._scores.ring()
        headers = {"Cache-Control": "public, max-age=300"}
        return Response(orjson.dumps(ring.jwks()), headers=headers, media_type="application/jwk-set+json")


def _score_id(request: Request) -> str:
    score_id: str = request.path_params["score_id"]
    if not _ID.fullmatch(score_id):
        raise NotFound(Text("Aucun score ne porte cet identifiant.", "No score has this id."))
    return score_id


def _wants_text(accept: bytes) -> bool:
    """Return whether a client names text/plain, and does not like JSON better."""
    qualities = dict(weighted(accept))
    return qualities.get("text/plain", 0.0) > qualities.get("application/json", 0.0)
