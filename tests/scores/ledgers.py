"""Small ledgers with all that lies beside them, as a server leaves them. Checks nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.ledger import Paths
from minimon_server.scores.merkle import Tree, leaf_hash
from minimon_server.scores.notes import Checkpoint, NoteSigner
from minimon_server.scores.payload import Payload, canonical
from minimon_server.scores.records import Idempotency, answer_bytes, line_bytes
from minimon_server.scores.signed import render
from minimon_server.scores.signing import Form, SigningKey, seal

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAME = "minimon-scores/0123456789abcdef"
LOG_KEY = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
SIGNER = NoteSigner(NAME, SigningKey(LOG_KEY))


@cache
def signing_key() -> SigningKey:
    return SigningKey(generate_private_key(SECP256R1()))


def ring() -> KeyRing:
    return KeyRing([signing_key().public], [SIGNER.key])


def line(number: int, *, form: Form = "native", score: float = 12.5, subject: str | None = None) -> bytes:
    """Return record `number`, signed; without its line feed."""
    digest = sha256(b"%d" % number).hexdigest()
    issued = f"2026-11-21T12:{number // 60 % 60:02d}:{number % 60:02d}.123Z"
    name = f"player{number}" if subject is None else subject
    data, key = canonical(Payload(f"mnm_{digest[:24]}", issued, digest[24:40], score, name)), signing_key()
    sealed = seal(key, data, form)
    signed = render(data, sealed.signature_b64.encode(), key.public.algorithm, sealed.signature_format, key.fingerprint)
    idempotency = Idempotency(digest, digest[::-1]) if number % 2 else None
    return line_bytes(answer_bytes(signed, issued[:19] + "Z"), key.public.key_id, idempotency)


@cache
def some_lines(count: int) -> tuple[bytes, ...]:
    forms: Sequence[Form] = ("native", "raw", "jws")
    return tuple(
        line(number, form=forms[number % 3], subject="Éloïse" if number % 5 == 4 else None) for number in range(count)
    )


@dataclass(frozen=True)
class Made:
    """A ledger on disk; `keys` is its JWKS file."""

    paths: Paths
    keys: Path
    lines: Sequence[bytes]

    @property
    def path(self) -> Path:
        return self.paths.ledger

    def write(self, lines: Sequence[bytes]) -> None:
        """Put other lines in place of the signed ones."""
        self.path.write_bytes(b"".join(one + b"\n" for one in lines))


def tree_over(lines: Sequence[bytes]) -> Tree:
    leaves = [leaf_hash(one) for one in lines]
    tree = Tree(lambda start, end: b"".join(leaves[start:end]))
    tree.extend(b"".join(leaves))
    return tree


def make(folder: Path, lines: Sequence[bytes], *, signed: int | None = None) -> Made:
    """Write a ledger whose checkpoint signs the first `signed` records, by default all."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Made(Paths(folder / "certified_scores.jsonl"), folder / "jwks.json", lines)
    made.write(lines)
    kept = lines[: len(lines) if signed is None else signed]
    checkpoint = Checkpoint(NAME, len(kept), tree_over(kept).root())
    made.paths.beside("checkpoint").write_bytes(SIGNER.sign(checkpoint.text()))
    made.paths.beside("leaves").write_bytes(b"".join(map(leaf_hash, kept)))
    made.paths.beside("keys").write_bytes(ring().note(SIGNER))
    made.keys.write_text(json.dumps(ring().jwks()))
    return made


def log_key_pem(folder: Path, key: Ed25519PrivateKey = LOG_KEY) -> Path:
    """Write the private key of checkpoints as a server keeps it."""
    path = folder / "app_checkpoint_key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path
