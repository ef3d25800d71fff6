"""Signatures in all their forms, by every kind of key, judged by openssl and by a JOSE library that is not ours."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from joserfc import jwk, jws

from minimon_server.scores import base64url
from minimon_server.scores.public_keys import curve_of
from minimon_server.scores.signing import FORMS, SigningKey, check_seal, finish, from_pkcs8, seal, signing_input
from tests.scores import openssl
from tests.scores.openssl import ALGORITHMS, KINDS, needs_openssl, private_pem

CANONICAL = b'{"score":12345,"subject":"player \xc3\xa9"}'
pytestmark = needs_openssl


def key_of(kind: str) -> SigningKey:
    return SigningKey(serialization.load_pem_private_key(private_pem(kind), None))


def der_of_raw(raw: bytes) -> bytes:
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_takes_native_and_raw_signatures(kind: str, tmp_path: Path) -> None:
    key = key_of(kind)
    curve = curve_of(ALGORITHMS[kind])
    native, raw = seal(key, CANONICAL, "native"), seal(key, CANONICAL, "raw")
    assert key.public.algorithm == ALGORITHMS[kind]
    assert native.signature_format == key.public.native_format == ("DER" if curve else "raw")
    assert raw.signature_format == "raw"
    signature = base64.b64decode(native.signature_b64)
    assert openssl.accepts(tmp_path, kind, CANONICAL, signature)
    assert not openssl.accepts(tmp_path, kind, CANONICAL + b" ", signature)
    unwrapped = base64.b64decode(raw.signature_b64)
    if curve:
        assert len(unwrapped) == {"ES256": 64, "ES256K": 64, "ES384": 96, "ES512": 132}[ALGORITHMS[kind]]
        unwrapped = der_of_raw(unwrapped)
    assert openssl.accepts(tmp_path, kind, CANONICAL, unwrapped)


@pytest.mark.parametrize("kind", KINDS)
def test_we_take_what_openssl_signs(kind: str, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(private_pem(kind))
    (tmp_path / "message").write_bytes(CANONICAL)
    curve = curve_of(ALGORITHMS[kind])
    if ALGORITHMS[kind].startswith("Ed"):
        signature = openssl.openssl("pkeyutl -sign -rawin -inkey", tmp_path / "key.pem", "-in", tmp_path / "message")
    else:
        digest = curve.hash.name if curve else "sha256"
        signature = openssl.openssl(f"dgst -{digest} -sign", tmp_path / "key.pem", tmp_path / "message")
    public = key_of(kind).public
    assert public.verify(signature, CANONICAL, public.native_format)
    assert not public.verify(signature, CANONICAL + b"\n", public.native_format)


@pytest.mark.parametrize("kind", KINDS)
def test_another_library_reads_the_jws_with_the_published_key(kind: str) -> None:
    key = key_of(kind)
    sealed = seal(key, CANONICAL, "jws")
    assert sealed.signature_format == "jws"
    theirs = jwk.import_key(dict(key.public.jwk))
    read = jws.deserialize_compact(sealed.signature_b64, theirs, algorithms=[ALGORITHMS[kind]])
    assert read.payload == CANONICAL
    assert read.headers() == {"alg": ALGORITHMS[kind], "kid": key.public.key_id}
    assert theirs.thumbprint() == key.public.key_id


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_seal_that_was_finished_elsewhere_holds_and_no_change_does(kind: str, form: Any) -> None:
    key = key_of(kind)
    elsewhere = from_pkcs8(key.pkcs8())
    signature = elsewhere.sign(signing_input(form, CANONICAL, key.public))
    sealed = finish(form, signature, CANONICAL, key.public)
    text, kind_of_text, algorithm = sealed.signature_b64, sealed.signature_format, key.public.algorithm
    assert check_seal(key.public, CANONICAL, text, kind_of_text, algorithm) is None
    assert check_seal(key.public, CANONICAL + b" ", text, kind_of_text, algorithm)
    assert "algorithm" in str(check_seal(key.public, CANONICAL, text, kind_of_text, "none"))
    assert "no format" in str(check_seal(key.public, CANONICAL, text, "P1363", algorithm))
    for other in {"DER", "raw", "jws"} - {kind_of_text}:
        assert check_seal(key.public, CANONICAL, text, other, algorithm)
    for changed in (text + "=", " " + text, text[:-2], "", "é", text + "\n", text.replace(text[7], "*")):
        assert check_seal(key.public, CANONICAL, changed, kind_of_text, algorithm)


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_of_a_signature_is_overlooked(kind: str) -> None:
    public, native = key_of(kind).public, key_of(kind).sign(CANONICAL)
    forms = [(native, public.native_format)]
    if curve_of(public.algorithm):
        forms.append((base64.b64decode(finish("raw", native, CANONICAL, public).signature_b64), "raw"))
    for signature, form in forms:
        assert public.verify(signature, CANONICAL, form)
        for place in range(len(signature)):
            changed = bytearray(signature)
            changed[place] ^= 1 << (place % 8)
            assert not public.verify(bytes(changed), CANONICAL, form)
        for wrong in (b"", signature[:-1], signature + b"\0", b"\0" + signature, signature * 2, b"\0" * len(signature)):
            assert not public.verify(wrong, CANONICAL, form)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "secp256k1"])
def test_numbers_out_of_range_sign_nothing(kind: str) -> None:
    public = key_of(kind).public
    curve = curve_of(public.algorithm)
    assert curve
    r, s = decode_dss_signature(key_of(kind).sign(CANONICAL))
    for one, two in ((0, 0), (0, s), (r, 0), (curve.order, s), (r, curve.order), (curve.order, curve.order)):
        assert not public.verify(one.to_bytes(curve.size, "big") + two.to_bytes(curve.size, "big"), CANONICAL, "raw")
        assert not public.verify(encode_dss_signature(one, two), CANONICAL, "DER")
    for one, two in ((r + curve.order, s), (r, s + curve.order)):
        assert not public.verify(encode_dss_signature(one, two), CANONICAL, "DER")


def test_der_has_one_spelling() -> None:
    public = key_of("P-256").public
    signature = next(one for one in iter(lambda: key_of("P-256").sign(CANONICAL), b"") if one[3] == 0x20)
    spellings = {
        "a length of two bytes": b"\x30\x81" + signature[1:],
        "a number with a zero before it": b"\x30" + bytes([signature[1] + 1]) + b"\x02\x21\0" + signature[4:],
        "an indefinite length": b"\x30\x80" + signature[2:] + b"\0\0",
        "another tag": b"\x31" + signature[1:],
        "a third member": b"\x30" + bytes([signature[1] + 2]) + signature[2:] + b"\x05\0",
    }
    assert public.verify(signature, CANONICAL, "DER")
    assert [name for name, one in spellings.items() if public.verify(one, CANONICAL, "DER")] == []


def test_a_signature_over_another_hash_does_not_fit() -> None:
    key = key_of("P-384")
    private = serialization.load_der_private_key(key.pkcs8(), None)
    curve = curve_of("ES256")
    assert curve
    assert not key.public.verify(private.sign(CANONICAL, ECDSA(curve.hash)), CANONICAL, "DER")  # type: ignore[call-arg, arg-type, union-attr]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "none"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"alg": "EdDSA"}, "alg"),
        ({"kid": None}, "alg"),
        ({"alg": "ES256", "kid": "another"}, "another key"),
        ({"alg": "ES256", "crit": ["b64"], "b64": False}, "'b64'"),
        ({"alg": "ES256", "b64": False}, "'b64'"),
        ({"alg": "ES256", "b64": True}, "'b64'"),
        ({"alg": "ES256", "crit": []}, "'crit'"),
        ({"alg": "ES256", "jwk": {}}, "'jwk'"),
        ({"alg": ["ES256"]}, "alg"),
        ([], "no JSON object"),
        ([["alg", "ES256"]], "no JSON object"),
        ("ES256", "no JSON object"),
        (b'{"alg":"none","alg":"ES256"}', "twice"),
        (b'{"alg":"ES256"', "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 20_000, "not JSON"),
        ({"alg": "ES256"}, None),
    ],
)
def test_a_header_may_say_which_key_it_is_and_nothing_else(header: object, reason: str | None) -> None:
    key = key_of("P-256")
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    head = f"{base64url.encode(written)}.{base64url.encode(CANONICAL)}"
    signature = finish("raw", key.sign(head.encode()), CANONICAL, key.public).signature_b64
    compact = f"{head}.{base64url.encode(base64.b64decode(signature))}"
    found = check_seal(key.public, CANONICAL, compact, "jws", "ES256")
    assert (found is None) if reason is None else (reason in str(found))


def test_a_jws_of_other_bytes_or_parts_is_refused() -> None:
    key = key_of("Ed25519")
    other = seal(key, b"{}", "jws").signature_b64
    assert "other bytes" in str(check_seal(key.public, CANONICAL, other, "jws", "Ed25519"))
    ours = seal(key, CANONICAL, "jws").signature_b64
    detached = ours.split(".")[0] + ".." + ours.split(".")[2]
    assert "other bytes" in str(check_seal(key.public, CANONICAL, detached, "jws", "Ed25519"))
    assert "three parts" in str(check_seal(key.public, CANONICAL, ours + ".", "jws", "Ed25519"))
    assert "base64url" in str(check_seal(key.public, CANONICAL, ours + "=", "jws", "Ed25519"))


def test_the_example_of_rfc_8037_is_signed_to_the_letter() -> None:
    secret = base64url.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    key = from_pkcs8(bytes.fromhex("302e020100300506032b657004220420") + secret)
    assert key.public.jwk["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert key.public.key_id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")
    assert (
        base64url.encode(signature)
        == "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
