"""Certified scores as a stranger sees them: answers, ledgers and counters, checked without a line of the server's code.

Measures nothing.
"""

from __future__ import annotations

import base64
import http
import json
import random
import ssl
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench import client
from bench.client import Answer
from bench.errors import BenchError
from bench.race import Result

PATH = "/v1/certify-score"
CLAIM = b'{"score":1234.5,"subject":"player-0000000"}'
SAMPLE = 200


def check(name: str, answer: Answer, key: ec.EllipticCurvePublicKey) -> None:
    """Fail unless the answer is a certified score, signed by this key and sent over TLS 1.3."""
    if answer.status != http.HTTPStatus.OK or answer.tls != "TLSv1.3":
        raise BenchError(f"{name} answered with status {answer.status} over {answer.tls}: {answer.body[:200]!r}")
    check_record(name, answer.body, key)
    payload = json.loads(answer.body)["signed"]["payload"]
    claimed = json.loads(CLAIM)
    if {member: payload.get(member) for member in claimed} != claimed:
        raise BenchError(f"{name} certified something else than was claimed: {payload}")


def check_record(name: str, record: bytes, key: ec.EllipticCurvePublicKey) -> None:
    """Fail unless the signature in a record is the key's, and over the payload that is shown."""
    try:
        signed = _signed(record)
        canonical = canonical_of(record)
        key.verify(base64.b64decode(signed["signatureB64"], validate=True), canonical, ec.ECDSA(hashes.SHA256()))
        same = json.loads(canonical) == signed["payload"]
    except (ValueError, KeyError, TypeError, InvalidSignature) as error:
        raise BenchError(f"{name} wrote something else than a certified score ({error!r}): {record[:200]!r}") from error
    if not same:
        raise BenchError(f"{name} shows another payload than it signed: {record[:200]!r}")


def canonical_of(record: bytes) -> bytes:
    """Return the bytes that were signed."""
    return base64.b64decode(_signed(record)["canonicalB64"], validate=True)


def _signed(record: bytes) -> Any:
    return json.loads(record)["signed"]


def count(ledger: Path) -> int:
    """Return how many whole lines a ledger has."""
    return sum(block.count(b"\n") for block in _blocks(ledger)) if ledger.exists() else 0


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def last_line(ledger: Path) -> bytes:
    """Return the last record, without its line feed."""
    with ledger.open("rb") as file:
        return deque(file, 1).pop().rstrip(b"\n")


def check_count(name: str, records: int, result: Result, connections: int) -> None:
    """Fail when a ledger grew by less than was answered, or by more than that and what was in flight at the ends."""
    if not result.answers <= records <= result.answers + connections * result.tries:
        raise BenchError(
            f"{name} gave {result.answers} answers in {result.tries} rounds over {connections} connections, "
            f"but its ledger grew by {records} records"
        )


def check_sample(name: str, ledger: Path, key: ec.EllipticCurvePublicKey) -> None:
    """Check the first record, the last one, and some between."""
    lines = ledger.read_bytes().splitlines()
    for line in (lines[0], lines[-1], *random.sample(lines, min(SAMPLE - 2, len(lines)))):
        check_record(name, line, key)


def metrics(port: int, context: ssl.SSLContext) -> dict[str, float]:
    """Return the counters of /metrics that have no labels."""
    answer = client.ask(port, "/metrics", context)[0]
    if answer.status != http.HTTPStatus.OK:
        raise BenchError(f"/metrics was answered with status {answer.status}")
    lines = (line.split() for line in answer.body.decode("utf-8").splitlines() if not line.startswith("#"))
    return {fields[0]: float(fields[1]) for fields in lines if len(fields) == 2 and "{" not in fields[0]}
