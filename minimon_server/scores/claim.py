"""What a game claims: a score, whose it is, and the game's own nonce. Signs nothing, and makes no nonce."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, cast

import rfc8785

from minimon_server.errors import Text
from minimon_server.scores.members import Check, check_members, number, text_of
from minimon_server.scores.strict_json import examine, refuse

MOST_SUBJECT_BYTES: Final = 512
MOST_NONCE_BYTES: Final = 128

_NULL_NONCE: Final = Text(
    "ne peut pas être null ; omettez ce champ, et le serveur fera un nonce",
    "may not be null; leave this field out, and the server will make a nonce",
)
_check_nonce: Final = text_of(1, MOST_NONCE_BYTES)


def _nonce(value: object) -> Text | None:
    return _NULL_NONCE if value is None else _check_nonce(value)


_CHECKS: Final[dict[str, Check]] = {"score": number, "subject": text_of(1, MOST_SUBJECT_BYTES), "nonce": _nonce}


@dataclass(frozen=True, slots=True)
class Claim:
    """A score that a game asks to have certified; no nonce where the server shall make one."""

    score: int | float
    subject: str
    nonce: str | None


def read_claim(body: bytes) -> Claim:
    """Return the claim in this body; raise `InvalidRequest` naming every wrong field, or `PayloadTooLarge`."""
    tree, mistakes = examine(body)
    refuse(check_members(tree, _CHECKS, mistakes, optional=("nonce",)))
    claimed = cast(dict[str, object], tree)
    return Claim(
        score=cast(int | float, claimed["score"]),
        subject=cast(str, claimed["subject"]),
        nonce=cast(str | None, claimed.get("nonce")),
    )


def claim_digest(claim: Claim, form: str) -> str:
    """Return the SHA-256, in hexadecimal, of what was asked: two bodies that say the same have the same.

    `form` is the form of signature asked for: a retry that asks for another one is another request.
    """
    asked: dict[str, int | float | str] = {"form": form, "score": claim.score, "subject": claim.subject}
    if claim.nonce is not None:
        asked["nonce"] = claim.nonce
    return hashlib.sha256(rfc8785.dumps(asked)).hexdigest()
