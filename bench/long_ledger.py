"""Writes a ledger of many records with the keys that a server has made: valid, as if all had been asked for.

Uses the server's own parts for keys, bytes, hashes and checkpoints; measures nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from bench.contenders import ScoreFiles
from minimon_server.scores import records
from minimon_server.scores.merkle import Tree, leaf_hash
from minimon_server.scores.notes import Checkpoint, NoteSigner
from minimon_server.scores.payload import Payload, canonical
from minimon_server.scores.signed import render
from minimon_server.scores.signing import SigningKey, seal
from minimon_server.times import Clock

FIRST_MS = 1_700_000_000_000
BATCH = 4096
SEED = 4


@dataclass(frozen=True)
class Written:
    """A ledger as it was written: how long it is, and a few of its records."""

    records: int
    length: int
    sample: tuple[bytes, ...]


def write(files: ScoreFiles, count: int) -> Written:
    """Fill the empty ledger of a server that has been started and ended once."""
    key = SigningKey(_private(files.key), load_pem_x509_certificates(files.certificate.read_bytes()))
    checkpoint, leaves = (files.ledger.with_name(f"{files.ledger.name}.{what}") for what in ("checkpoint", "leaves"))
    origin = checkpoint.read_text("utf-8").partition("\n")[0]
    tree, hashes = Tree(_unread), bytearray()
    sample: list[bytes] = []
    with files.ledger.open("wb") as file:
        for line in _lines(key, count):
            file.write(line + b"\n")
            leaf = leaf_hash(line)
            tree.append(leaf)
            hashes += leaf
            if tree.size % (count // 10) == 0:
                sample.append(line)
    leaves.write_bytes(hashes)
    signer = NoteSigner(origin, SigningKey(_private(files.checkpoint_key)))
    checkpoint.write_bytes(signer.sign(Checkpoint(origin, count, tree.root()).text()))
    return Written(count, files.ledger.stat().st_size, tuple(sample))


def _lines(key: SigningKey, count: int) -> Iterator[bytes]:
    """Yield one record a millisecond: numbers and players such as games have."""
    dice, milliseconds = random.Random(SEED), FIRST_MS
    clock = Clock(lambda: milliseconds / 1000)
    for number in range(count):
        milliseconds += 1
        payload = Payload(
            id=f"mnm_{dice.getrandbits(96):024x}",
            issued_at=clock.now_ms(),
            nonce=f"{dice.getrandbits(128):032x}",
            score=dice.randrange(1_000_000) / 10,
            subject=f"player-{number % 50_000:07d}",
        )
        data = canonical(payload)
        sealed = seal(key, data, "native")
        signature = sealed.signature_b64.encode("ascii")
        signed = render(data, signature, key.public.algorithm, sealed.signature_format, key.fingerprint)
        yield records.line_bytes(records.answer_bytes(signed, clock.now()), key.public.key_id, None)


def _private(path: Path) -> object:
    return load_pem_private_key(path.read_bytes(), None)


def _unread(start: int, end: int) -> bytes:
    raise AssertionError(f"nobody asks for leaves {start} to {end} of a tree that only grows")
