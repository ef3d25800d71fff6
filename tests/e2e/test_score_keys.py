"""Keys of every kind, one after the other on one ledger, and a signing process that dies: judged by openssl."""

from __future__ import annotations

import base64
import os
import signal
import time
from pathlib import Path

from minimon_server.scores.public_keys import curve_of
from minimon_server.scores.signing import from_pkcs8
from tests.e2e.running import PATIENCE
from tests.e2e.score_server import Answered, Load, ScoreServer, acknowledged, check_nothing_lost, check_refusal, ring_of
from tests.scores.openssl import ALGORITHMS, KINDS, accepts, certificate_pem, needs_openssl, openssl, private_pem

pytestmark = needs_openssl


def install(folder: Path, kind: str, *, with_certificate: bool = True) -> None:
    """Put a key of a kind in the place of the server's, with a certificate of its own or without one."""
    key, certificate = folder / "certs" / "app_signing_key.pem", folder / "certs" / "app_signing_cert.pem"
    key.parent.mkdir(exist_ok=True)
    key.write_bytes(private_pem(kind))
    key.chmod(0o600)
    certificate.unlink(missing_ok=True)
    if with_certificate:
        certificate.write_bytes(certificate_pem(key))


def key_id_of(kind: str) -> str:
    return from_pkcs8(openssl("pkcs8 -topk8 -nocrypt -outform DER", given=private_pem(kind))).public.key_id


def check_with_openssl(folder: Path, kind: str, answer: Answered) -> None:
    """The signature is one of the very bytes that are shown, by the key that the operator installed."""
    signed = answer.json["signed"]
    assert signed["algorithm"] == ALGORITHMS[kind]
    curve = curve_of(ALGORITHMS[kind])
    assert signed["signatureFormat"] == ("DER" if curve else "raw")
    message, signature = (base64.b64decode(signed[name]) for name in ("canonicalB64", "signatureB64"))
    assert accepts(folder, kind, message, signature)
    assert not accepts(folder, kind, message + b" ", signature)


def test_old_records_outlive_every_change_of_key(tmp_path: Path) -> None:
    certified: list[bytes] = []
    for number, kind in enumerate(KINDS, 1):
        install(tmp_path, kind, with_certificate=number % 3 != 0)
        with ScoreServer(tmp_path) as server:
            assert server.reasons() == ""
            answer = server.asker.certify(f"by {kind}")
            check_with_openssl(tmp_path, kind, answer)
            certified.append(acknowledged(answer))
            for form in ("raw", "jws"):
                body = b'{"score":1,"subject":"in another form"}'
                certified.append(acknowledged(server.asker.ask("POST", f"/v1/certify-score?signature={form}", body)))
            published = server.asker.ask("GET", "/.well-known/jwks.json")
            assert published.headers["content-type"] == "application/jwk-set+json"
            scores = [key for key in published.json["keys"] if key["minimon:purpose"] == "score"]
            # The present key first, every former one after it, each under its RFC 7638 thumbprint.
            assert [key["kid"] for key in scores] == [key_id_of(one) for one in reversed(KINDS[:number])]
            assert [key["alg"] for key in scores] == [ALGORITHMS[one] for one in reversed(KINDS[:number])]
            check_nothing_lost(server, certified)
    _renew_the_certificate(tmp_path, certified)


def _renew_the_certificate(folder: Path, certified: list[bytes]) -> None:
    """The same key under another certificate: what carries the former fingerprint stays valid."""
    install(folder, "RSA-2048")
    fingerprints = []
    for days in (365, 400):
        (folder / "certs" / "app_signing_cert.pem").write_bytes(
            certificate_pem(folder / "certs" / "app_signing_key.pem", days=days)
        )
        with ScoreServer(folder) as server:
            answer = server.asker.certify("renewed")
            fingerprints.append(answer.json["signed"]["certificateFingerprintSHA256"])
            certified.append(acknowledged(answer))
            check_nothing_lost(server, certified)
            first = server.asker.ask("GET", "/.well-known/jwks.json").json["keys"][0]
            assert first["kid"] == key_id_of("RSA-2048")
            assert set(fingerprints) <= set(first["minimon:fingerprints"])
            assert len(ring_of(server.asker).scores) == len(KINDS)
    assert fingerprints[0] != fingerprints[1]


def children_of(process: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def wait_until_gone(process: int) -> None:
    deadline = time.monotonic() + PATIENCE
    status = Path(f"/proc/{process}/stat")
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, f"process {process} lives on"
        time.sleep(0.02)


def test_a_signing_process_that_is_killed_is_replaced_and_none_is_left_behind(tmp_path: Path) -> None:
    install(tmp_path, "RSA-4096")
    server = ScoreServer(tmp_path)
    assert server.begin()
    try:
        certified = [acknowledged(server.asker.certify())]
        assert server.asker.ask("GET", "/ready").json["checks"]["scores"]["signer"] == "process"
        (signer,) = children_of(server.process.pid)
        load = Load(server.http_port, clients=8).start(most=60)
        load.wait_for(20)
        os.kill(signer, signal.SIGKILL)
        load.wait()
        assert len(load.certified) + len(load.refused) == 480
        assert load.refused, "what was being signed when the process died cannot have been answered"
        for answer in load.refused:
            check_refusal(answer)
        certified += load.certified
        certified.append(acknowledged(server.asker.certify("after")))
        check_nothing_lost(server, certified, every=50)
        assert server.reasons() == ""
        (successor,) = children_of(server.process.pid)
        assert successor != signer
    finally:
        server.kill()
    wait_until_gone(successor)
