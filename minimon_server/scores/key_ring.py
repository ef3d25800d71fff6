"""Every key that ever signed for this ledger: published for ever, kept beside it in a note that the log key signs.

Without that signature, whoever can write a file could publish a key of theirs and vouch for records of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Self

from minimon_server.scores import base64url
from minimon_server.scores.notes import BadNote, NoteKey, NoteSigner, open_note
from minimon_server.scores.public_keys import PublicKey, from_jwk

PURPOSE: Final = "minimon:purpose"
VKEY: Final = "minimon:vkey"
FINGERPRINTS: Final = "minimon:fingerprints"
_TITLE: Final = " keys"


class KeyRing:
    """The public keys of scores, the present one first, and those of checkpoints, likewise."""

    def __init__(
        self,
        scores: Sequence[PublicKey],
        logs: Sequence[NoteKey],
        fingerprints: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`fingerprints`: by key id, those of the certificates that the key has had besides its present one."""
        self.scores, self.logs = tuple(scores), tuple(logs)
        self._by_id = {key.key_id: key for key in self.scores}
        former = fingerprints or {}
        self._fingerprints = {
            key.key_id: list(dict.fromkeys([*_fingerprint(key), *former.get(key.key_id, ())])) for key in self.scores
        }

    def get(self, key_id: str) -> PublicKey | None:
        """Return the score key with this RFC 7638 thumbprint."""
        return self._by_id.get(key_id)

    def candidates(self, algorithm: str) -> list[PublicKey]:
        """Return the score keys that make signatures of this kind."""
        return [key for key in self.scores if key.algorithm == algorithm]

    def fingerprints(self, key: PublicKey) -> list[str]:
        """Return the SHA-256 fingerprints of every certificate that a key has had, in hexadecimal."""
        return self._fingerprints.get(key.key_id, [])

    def with_score_key(self, key: PublicKey) -> KeyRing:
        """Return a ring in which `key` stands first; the former ones stay."""
        others = [old for old in self.scores if old.key_id != key.key_id]
        return KeyRing([key, *others], self.logs, self._fingerprints)

    def with_log_key(self, key: NoteKey) -> KeyRing:
        """Return a ring in which checkpoints are signed by `key`; the former keys stay."""
        return KeyRing(self.scores, [key, *(old for old in self.logs if old != key)], self._fingerprints)

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set (RFC 7517, section 5); members of ours say what each key is for."""
        scores = [{**key.jwk, PURPOSE: "score", FINGERPRINTS: self._fingerprints[key.key_id]} for key in self.scores]
        return {"keys": [*scores, *(_log_jwk(key) for key in self.logs)]}

    @classmethod
    def from_jwks(cls, document: object) -> Self:
        """Read a set; raise `ValueError` when a key in it is malformed. Keys of another purpose are passed over."""
        if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
            raise ValueError("not a JSON Web Key Set: an object with a list `keys`")
        scores, logs, fingerprints = [], [], {}
        for jwk in document["keys"]:
            if not isinstance(jwk, dict):
                raise ValueError("a key that is not an object")
            if jwk.get(PURPOSE) == "checkpoint":
                logs.append(_log_key(jwk))
            elif jwk.get(PURPOSE, "score") == "score":
                key = from_jwk({name: value for name, value in jwk.items() if not name.startswith("minimon:")})
                scores.append(key)
                fingerprints[key.key_id] = _strings(jwk.get(FINGERPRINTS, []))
        return cls(scores, logs, fingerprints)

    @classmethod
    def from_json(cls, content: bytes | str) -> Self:
        """Read the text of a set, whoever wrote it; raise `ValueError` when it is none."""
        try:
            return cls.from_jwks(json.loads(content))
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def note(self, signer: NoteSigner) -> bytes:
        """Return the note that keeps this ring."""
        document = json.dumps(self.jwks(), separators=(",", ":"), ensure_ascii=True)
        return signer.sign(f"{signer.key.name}{_TITLE}\n{document}\n")

    @classmethod
    def from_note(cls, note: bytes, keys: Iterable[NoteKey]) -> Self:
        """Read a note that one of `keys` signed; raise `BadNote` when it is none, or keeps no ring."""
        known = list(keys)
        title, _, document = open_note(note, known).partition("\n")
        if title not in {key.name + _TITLE for key in known}:
            raise BadNote("the note keeps no keys")
        try:
            return cls.from_json(document)
        except ValueError as error:
            raise BadNote(f"the note keeps malformed keys: {error}") from error


def _strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"a key whose {FINGERPRINTS} is no list of texts")
    return value


def _fingerprint(key: PublicKey) -> list[str]:
    digest = key.jwk.get("x5t#S256")
    return [base64url.decode(digest).hex()] if digest else []


def _log_jwk(key: NoteKey) -> dict[str, Any]:
    x = base64url.encode(key.public)
    # RFC 7638, section 3, with the members that RFC 8037, section 2, requires.
    thumbprint = sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    kid = base64url.encode(thumbprint)
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": x,
        "alg": "Ed25519",
        "use": "sig",
        "kid": kid,
        PURPOSE: "checkpoint",
        VKEY: key.vkey,
    }


def _log_key(jwk: Mapping[str, Any]) -> NoteKey:
    key = NoteKey.from_vkey(str(jwk.get(VKEY)))
    if _log_jwk(key)["x"] != jwk.get("x"):
        raise ValueError("a checkpoint key whose two forms differ")
    return key
