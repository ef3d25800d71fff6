"""Public keys: their ids by the vectors of the standards, their JSON form read strictly, hostile ones told apart."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwk as joserfc_jwk

from minimon_server.scores import base64url, edwards
from minimon_server.scores.public_keys import PublicKey, UnusableKey, from_jwk, public_key_of
from tests.scores import openssl
from tests.scores.openssl import ALGORITHMS, KINDS, needs_openssl, private_pem, public_pem

# RFC 7638, section 3.1; its "kid" is no thumbprint, and left out here.
RFC_7638 = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4"
    "n3oknj"
    "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5"
    "hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
}
RFC_8037 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def public_of(kind: str) -> PublicKey:
    return public_key_of(serialization.load_pem_public_key(public_pem(private_pem(kind))))


def jwk_of(kind: str, **changes: Any) -> dict[str, Any]:
    """Return the published form of a key with some members changed; None leaves one out."""
    members = {**public_of(kind).jwk, **changes}
    return {name: value for name, value in members.items() if value is not None}


def test_the_thumbprints_of_the_standards() -> None:
    assert from_jwk(RFC_7638).key_id == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert from_jwk(RFC_8037).key_id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_signature_of_rfc_8037_fits() -> None:
    signature = base64url.decode(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    assert from_jwk(RFC_8037).verify(signature, message, "raw")
    assert not from_jwk(RFC_8037).verify(signature, message, "DER")
    # S plus the order of the group: the same number to whoever does not look (RFC 8032, section 5.1.7).
    order = 2**252 + 27742317777372353535851937790883648493
    larger = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not from_jwk(RFC_8037).verify(larger, message, "raw")


@needs_openssl
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_published_is_read_again_and_agrees_with_another_library(kind: str) -> None:
    public = public_of(kind)
    assert public.algorithm == ALGORITHMS[kind]
    assert from_jwk(public.jwk).key_id == public.key_id
    assert from_jwk({**public.jwk, "unheard-of": 1, "key_ops": ["verify"]}).jwk == public.jwk
    bare = {name: value for name, value in public.jwk.items() if name not in ("alg", "kid", "use")}
    assert from_jwk(bare).jwk == public.jwk
    theirs = joserfc_jwk.import_key(public_pem(private_pem(kind)).decode(), "RSA" if kind[:3] == "RSA" else _kty(kind))
    assert theirs.thumbprint() == public.key_id
    assert {name: public.jwk[name] for name in bare} == {name: theirs.as_dict()[name] for name in bare}


def _kty(kind: str) -> Any:
    return "OKP" if kind.startswith("Ed") else "EC"


@needs_openssl
@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_that_openssl_prints(kind: str) -> None:
    """The members, from the text that openssl prints of a public key."""
    text = openssl.openssl("pkey -pubin -noout -text", given=public_pem(private_pem(kind))).decode()
    block = re.search(r"(?:pub|Modulus):\n((?:\s+[0-9a-f:]+\n)+)", text)
    assert block
    printed = bytes.fromhex(re.sub(r"[\s:]", "", block[1]))
    jwk = public_of(kind).jwk
    members = [base64url.decode(jwk[name]) for name in ("x", "y", "n") if name in jwk]
    # A point begins with 04 (uncompressed), a modulus with 00 (positive).
    assert printed.hex() == {"EC": "04", "RSA": "00", "OKP": ""}[jwk["kty"]] + b"".join(members).hex()


RSA_N = base64url.decode(RFC_7638["n"])
HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("P-256", {"d": "AA"}, "private member 'd'"),
    ("RSA-2048", {"p": "AA"}, "private member 'p'"),
    ("P-256", {"k": "AA"}, "private member 'k'"),
    ("P-256", {"kty": "oct"}, "kty 'oct'"),
    ("P-256", {"kty": None}, "kty None"),
    ("P-256", {"kty": ["EC"]}, "not supported"),
    ("P-256", {"crv": "P-224"}, "not supported"),
    ("P-256", {"crv": "secp256k1", "alg": None, "kid": None}, "no key of its type"),
    ("P-256", {"crv": "P-384"}, "has 32 bytes in 'x'; its curve has 48"),
    ("P-256", {"x": None}, "no text 'x'"),
    ("P-256", {"x": 7}, "no text 'x'"),
    ("P-256", {"y": base64url.encode(b"\1" * 32)}, "no key of its type"),
    ("P-256", {"x": base64url.encode(b"\0" * 32), "y": base64url.encode(b"\0" * 32)}, "no key of its type"),
    ("P-256", {"x": base64url.encode(b"\xff" * 32)}, "no key of its type"),
    ("P-256", {"x": base64url.encode(b"\0" + b"\1" * 32)}, "has 33 bytes"),
    ("P-256", {"x": "A" * 43 + "="}, "one unpadded spelling"),
    ("P-256", {"x": "A" * 42 + "B"}, "one unpadded spelling"),
    ("P-256", {"x": "+" * 43}, "base64url"),
    ("P-256", {"x": "é" * 43}, "base64url"),
    ("P-256", {"x": "A" * 42 + "\n"}, "base64url"),
    ("P-256", {"alg": "ES384"}, "says alg 'ES384'"),
    ("P-256", {"alg": "none"}, "says alg 'none'"),
    ("P-256", {"alg": None, "kid": "x"}, "says kid 'x'"),
    ("P-256", {"kid": None, "alg": []}, "says alg"),
    ("P-256", {"use": "enc"}, "not meant for signatures"),
    ("P-256", {"key_ops": ["encrypt"]}, "not meant to verify"),
    ("P-256", {"key_ops": "verify"}, "not meant to verify"),
    ("P-256", {"x5t#S256": "AA"}, "says x5t#S256"),
    ("P-256", {"x5c": []}, "no list of certificates"),
    ("P-256", {"x5c": "MII"}, "no list of certificates"),
    ("P-256", {"x5c": [7]}, "no list of certificates"),
    ("P-256", {"x5c": ["AAAA"]}, "cannot be used"),
    ("P-256", {"x5c": ["*"]}, "cannot be used"),
    ("Ed25519", {"alg": "EdDSA"}, "says alg 'EdDSA'"),
    ("Ed25519", {"crv": "X25519"}, "not supported"),
    ("Ed25519", {"crv": "Ed448"}, "its curve has 57"),
    ("Ed25519", {"x": base64url.encode(b"\1" + b"\0" * 31)}, "small order"),
    ("Ed25519", {"x": base64url.encode(b"\0" * 32)}, "small order"),
    ("Ed25519", {"x": base64url.encode(b"\xec" + b"\xff" * 30 + b"\x7f")}, "small order"),
    (
        "Ed25519",
        {"x": base64url.encode(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))},
        "small order",
    ),
    ("Ed25519", {"x": base64url.encode(b"\2" + b"\0" * 31)}, "not lie on the curve"),
    ("Ed25519", {"x": base64url.encode(b"\xff" * 32)}, "beyond the field"),
    ("Ed25519", {"x": base64url.encode(b"\xee" + b"\xff" * 30 + b"\x7f")}, "beyond the field"),
    ("Ed448", {"x": base64url.encode(b"\0" * 57)}, "small order"),
    ("Ed448", {"x": base64url.encode(b"\1" + b"\0" * 56)}, "small order"),
    ("Ed448", {"x": base64url.encode(b"\xff" * 57)}, "beyond the field"),
    ("RSA-2048", {"n": base64url.encode(RSA_N[1:])}, "has 2040 bits"),
    ("RSA-2048", {"n": base64url.encode(b"\1" * 128)}, "bits; RSA keys of 2048 to 8192"),
    ("RSA-2048", {"n": base64url.encode(b"\xff" * 1025)}, "has 8200 bits"),
    ("RSA-2048", {"n": base64url.encode(b"\0" + RSA_N)}, "begins with zeros"),
    ("RSA-2048", {"n": ""}, "an empty 'n'"),
    ("RSA-2048", {"n": base64url.encode(RSA_N[:-1] + b"\2")}, "even modulus"),
    ("RSA-2048", {"e": "Aw"}, "public exponent 3"),
    ("RSA-2048", {"e": "AQ"}, "public exponent 1"),
    ("RSA-2048", {"e": base64url.encode((65538).to_bytes(3, "big"))}, "public exponent 65538"),
    ("RSA-2048", {"e": base64url.encode(b"\1" * 9)}, "public exponent"),
    ("RSA-2048", {"alg": "PS256"}, "says alg 'PS256'"),
    ("RSA-2048", {"e": "AQAB="}, "base64url"),
]


@needs_openssl
@pytest.mark.parametrize(("kind", "changes", "reason"), HOSTILE)
def test_a_hostile_key_is_refused_with_its_reason(kind: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableKey, match=re.escape(reason)):
        from_jwk(jwk_of(kind, **changes))


@needs_openssl
@pytest.mark.parametrize("kind", ["Ed25519", "Ed448"])
def test_every_point_of_openssl_is_a_point_to_us(kind: str) -> None:
    curve = edwards.ED25519 if kind == "Ed25519" else edwards.ED448
    for _ in range(8):
        der = openssl.openssl(f"genpkey -algorithm {kind.upper()} -outform DER")
        public = serialization.load_der_private_key(der, None).public_key()
        edwards.check_point(curve, public.public_bytes_raw())  # type: ignore[union-attr]


@needs_openssl
def test_a_certificate_goes_with_its_key_and_with_no_other(tmp_path: Path) -> None:
    chains = {}
    for kind in ("P-256", "Ed25519"):
        (tmp_path / kind).write_bytes(private_pem(kind))
        certificate = x509.load_pem_x509_certificate(openssl.certificate_pem(tmp_path / kind))
        chains[kind] = public_key_of(certificate.public_key(), [certificate])
        assert base64.b64decode(chains[kind].jwk["x5c"][0]) == certificate.public_bytes(serialization.Encoding.DER)
        assert base64url.decode(chains[kind].jwk["x5t#S256"]) == certificate.fingerprint(hashes.SHA256())
        assert from_jwk(chains[kind].jwk).jwk == chains[kind].jwk
        assert chains[kind].key_id == public_of(kind).key_id
    with pytest.raises(UnusableKey, match="another key's"):
        from_jwk({**chains["P-256"].jwk, "x5c": chains["Ed25519"].jwk["x5c"]})
    with pytest.raises(UnusableKey, match="says x5t#S256"):
        from_jwk({**chains["P-256"].jwk, "x5t#S256": chains["Ed25519"].jwk["x5t#S256"]})


def test_keys_that_scores_are_not_signed_with() -> None:
    with pytest.raises(UnusableKey, match="curve brainpoolP256r1"):
        public_key_of(ec.generate_private_key(ec.BrainpoolP256R1()).public_key())
    with pytest.raises(UnusableKey, match="public exponent 3"):
        public_key_of(rsa.generate_private_key(3, 2048).public_key())
    with pytest.raises(UnusableKey, match="is of the type object"):
        public_key_of(object())
