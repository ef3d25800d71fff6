"""Creatures that a game can trust: what is signed of them (`sign=1`), and `POST /v1/verify-creature`. Owns no key."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, cast

import orjson
from starlette.types import Receive, Scope, Send

from minimon_server.creatures.rarity import RARITIES
from minimon_server.creatures.recent import Given
from minimon_server.errors import PayloadTooLarge, SigningUnavailable, Text, UnsupportedMediaType
from minimon_server.scores.members import Check, check_members, passing, text_of
from minimon_server.scores.notary import TYPE, Notary
from minimon_server.scores.signed import Signed, read_signed
from minimon_server.scores.strict_json import examine, refuse
from minimon_server.scores.verify import REASONS
from minimon_server.web.bodies import read_json_body
from minimon_server.web.creature_schemas import CreatureVerdict, SignedCreatureToVerify
from minimon_server.web.gate import Access, Cost, Face
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.problems import header, spoken_language

KIND: Final = "creature"
LONGEST_NAME: Final = 128  # bytes; a name has at most 32 characters
NO_KEY: Final = Text("Ce serveur n'a pas de clé pour signer.", "This server has no key to sign with.")
_SHOWN: Final = ("id", "name", "rarity", "pictureSha256", "generatedAt")
_ID: Final = re.compile(r"mnm_[0-9a-f]{24}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SECOND: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_OTHER: Final = Text("n'est pas ce qui est signé d'une créature", "is not what is signed of a creature")
_CHECKS: Final[dict[str, Check]] = {
    "generatedAt": passing(_SECOND.fullmatch, _OTHER),
    "id": passing(_ID.fullmatch, _OTHER),
    "name": text_of(1, LONGEST_NAME),
    "pictureSha256": passing(_DIGEST.fullmatch, _OTHER),
    "rarity": passing(list(RARITIES).__contains__, _OTHER),
    TYPE: passing(KIND.__eq__, _OTHER),
}

GUIDE: Final = Guide(
    summary=Text("Une créature signée est-elle vraie ?", "Does a signed creature hold?"),
    detail=Text(
        "Prend l'objet `signed` de `GET /v1/generate?sign=1`. L'image n'est pas envoyée : comparez son SHA-256 à celui "
        "du verdict. Se vérifie aussi sans ce serveur : voir docs/creatures.md.",
        "Takes the object `signed` of `GET /v1/generate?sign=1`. The picture is not sent: compare its SHA-256 to that "
        "of the verdict. Can be checked without this server too: see docs/creatures.md.",
    ),
    body=SignedCreatureToVerify,
    answers=(Answer(Text("Le verdict.", "The verdict."), {"application/json": CreatureVerdict}),),
    errors=(PayloadTooLarge, SigningUnavailable, UnsupportedMediaType),
    samples=("-k {base}/v1/verify-creature -H 'Content-Type: application/json' -d @signed.json",),
)


class Signatory:
    """Signs what is given out. Without a notary it signs nothing, and says so."""

    def __init__(self, notary: Notary | None) -> None:
        self._notary = notary

    async def check(self) -> None:
        """Raise `SigningUnavailable` when nothing can be signed now: before a creature is made for it."""
        if self._notary is None:
            raise SigningUnavailable(NO_KEY, retry_after=60)
        await self._notary.check()

    async def signed(self, given: Given) -> bytes:
        """Return the compact JSON of a creature's signature: over who it is, when, and the bytes of its picture."""
        await self.check()
        assert self._notary is not None
        creature = given.creature
        members = {
            "generatedAt": given.at,
            "id": creature.id,
            "name": creature.name,
            "pictureSha256": sha256(creature.picture.png).hexdigest(),
            "rarity": str(creature.rarity),
        }
        return await self._notary.seal(KIND, members)


def as_header(signed: bytes) -> bytes:
    """Return a signature as a header of the bare picture has it: the same JSON in base64."""
    return base64.b64encode(signed)


def read_creature(canonical: bytes) -> dict[str, str]:
    """Return the members of a signed creature; raise `InvalidRequest` for bytes that are not one."""
    tree, mistakes = examine(canonical, canonical=True)
    refuse(check_members(tree, _CHECKS, mistakes))
    return cast(dict[str, str], tree)


class VerifyCreature:
    """The endpoint that judges."""

    def __init__(self, notary: Notary) -> None:
        self._notary = notary

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        signed: Signed = read_signed(await read_json_body(scope, receive))
        verdict = await self._notary.judge(signed, read_creature)
        language = spoken_language(header(scope, b"accept-language"))
        creature = read_creature(signed.canonical) if verdict.valid else None
        body = orjson.dumps(
            {
                "valid": verdict.valid,
                "reason": verdict.reason,
                "detail": REASONS[verdict.reason].spoken(language) if verdict.reason else None,
                "keyId": verdict.key_id,
                "creature": {name: creature[name] for name in _SHOWN} if creature else None,
            }
        )
        headers = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"content-language", language.encode()),
            (b"vary", b"Accept-Language"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def faces(notary: Notary) -> Sequence[Face]:
    """Return the routes of signed creatures beside those that sign."""
    verify = VerifyCreature(notary)
    return [Face("/v1/verify-creature", verify, method="POST", guide=GUIDE, access=Access.OPEN, cost=Cost.READ)]
