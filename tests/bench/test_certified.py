"""What counts as a certified score, and when a ledger holds what was answered; the server's own code takes no part."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench import certified
from bench.client import Answer
from bench.errors import BenchError
from bench.race import Result

KEY = ec.generate_private_key(ec.SECP256R1())
PAYLOAD = {"id": "mnm_1", "nonce": "n", "score": 1234.5, "subject": "player-0000000"}


def record(payload: dict[str, object] = PAYLOAD, shown: dict[str, object] = PAYLOAD) -> bytes:
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    signature = KEY.sign(canonical, ec.ECDSA(hashes.SHA256()))
    encoded = [base64.b64encode(one).decode() for one in (canonical, signature)]
    return json.dumps({"signed": {"payload": shown, "canonicalB64": encoded[0], "signatureB64": encoded[1]}}).encode()


def answer(body: bytes, status: int = 200, tls: str = "TLSv1.3") -> Answer:
    return Answer(status, body, tls, "TLS_AES_256_GCM_SHA384")


def test_a_certified_score() -> None:
    certified.check("ours", answer(record()), KEY.public_key())
    assert json.loads(certified.canonical_of(record())) == PAYLOAD


@pytest.mark.parametrize(
    "bad",
    [
        answer(record(), status=503),
        answer(record(), tls="TLSv1.2"),
        answer(record(shown={**PAYLOAD, "score": 9999.5})),
        answer(record({**PAYLOAD, "score": 1}, {**PAYLOAD, "score": 1})),
        answer(record().replace(b'"signatureB64": "ME', b'"signatureB64": "MF')),
        answer(b"{}"),
        answer(b""),
        answer(b"[]"),
    ],
)
def test_anything_else_is_refused(bad: Answer) -> None:
    with pytest.raises(BenchError, match="ours"):
        certified.check("ours", bad, KEY.public_key())


def test_a_signature_of_another_key_is_refused() -> None:
    with pytest.raises(BenchError, match="InvalidSignature"):
        certified.check_record("ours", record(), ec.generate_private_key(ec.SECP256R1()).public_key())


@pytest.mark.parametrize(("records", "fits"), [(99, False), (100, True), (100 + 3 * 64, True), (101 + 3 * 64, False)])
def test_a_ledger_holds_what_was_answered_and_at_most_what_was_in_flight(records: int, fits: bool) -> None:
    result = Result((), answers=100, tries=3)
    if fits:
        certified.check_count("ours", records, result, 64)
    else:
        with pytest.raises(BenchError, match=f"its ledger grew by {records} records"):
            certified.check_count("ours", records, result, 64)


def test_lines_are_counted_and_sampled(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    assert certified.count(ledger) == 0
    ledger.write_bytes(record() + b"\n" + record() + b"\n" + b"torn")
    assert certified.count(ledger) == 2
    with pytest.raises(BenchError, match="torn"):
        certified.check_sample("ours", ledger, KEY.public_key())
    ledger.write_bytes(record() + b"\n")
    certified.check_sample("ours", ledger, KEY.public_key())
    assert certified.last_line(ledger) == ledger.read_bytes()[:-1]
