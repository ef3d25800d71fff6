"""Public keys: their JOSE names, ids and JSON form, and the verifying of signatures. Holds nothing private."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from minimon_server.scores import base64url, edwards

SignatureFormat = Literal["DER", "raw"]

# JWA (RFC 7518, section 3.3) asks for 2048 bits; beyond 8192 one signature takes longer than a request should.
LEAST_RSA_BITS: Final = 2048
MOST_RSA_BITS: Final = 8192


class UnusableKey(ValueError):
    """Why a key cannot sign or verify scores, as the end of a sentence about it."""


@dataclass(frozen=True, slots=True)
class Curve:
    """An elliptic curve of JOSE: its names, the bytes of a coordinate, the order of its group, the hash it signs."""

    algorithm: str
    crv: str
    curve: ec.EllipticCurve
    size: int
    order: int
    hash: hashes.HashAlgorithm


# Fully specified names: RFC 7518, section 3.4, and RFC 8812 for secp256k1.
CURVES: Final = (
    Curve("ES256", "P-256", ec.SECP256R1(), 32, ec.SECP256R1().group_order, hashes.SHA256()),
    Curve("ES384", "P-384", ec.SECP384R1(), 48, ec.SECP384R1().group_order, hashes.SHA384()),
    Curve("ES512", "P-521", ec.SECP521R1(), 66, ec.SECP521R1().group_order, hashes.SHA512()),
    Curve("ES256K", "secp256k1", ec.SECP256K1(), 32, ec.SECP256K1().group_order, hashes.SHA256()),
)
_CURVE_BY_ALGORITHM: Final = {one.algorithm: one for one in CURVES}
_CURVE_BY_NAME: Final = {one.curve.name: one for one in CURVES}

SupportedPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey | rsa.RSAPublicKey
# Which members RFC 7638, section 3.2, hashes, by key type; RFC 8037, section 2, adds OKP.
_HASHED: Final = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})


def curve_of(algorithm: str) -> Curve | None:
    """Return the curve that an algorithm signs on, or None when it is no ECDSA."""
    return _CURVE_BY_ALGORITHM.get(algorithm)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies. `jwk` is its public form (RFC 7517), `key_id` its thumbprint (RFC 7638)."""

    algorithm: str
    key_id: str
    jwk: Mapping[str, Any]
    native_format: SignatureFormat
    key: SupportedPublicKey

    def verify(self, signature: bytes, message: bytes, signature_format: str) -> bool:
        """Return whether `signature`, in the declared format ("DER" or "raw") and no other, is one of `message`."""
        curve = curve_of(self.algorithm)
        if curve is not None and signature_format == "raw":
            signature = _der_of_raw(signature, curve)
        elif signature_format != self.native_format:
            return False
        key = self.key
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                assert curve is not None
                key.verify(signature, message, ec.ECDSA(curve.hash))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def public_key_of(key: object, certificates: Sequence[x509.Certificate] = ()) -> PublicKey:
    """Return the public key that `key` (of the library) is; `certificates`, its own first, go into its JSON form.

    Raise `UnusableKey` for a type, curve or size that scores are not signed with.
    """
    algorithm, members = _members(key)
    assert isinstance(key, SupportedPublicKey)
    hashed = {name: members[name] for name in _HASHED[members["kty"]]}
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True, separators=(",", ":")).encode("ascii")).digest()
    jwk: dict[str, Any] = {**members, "alg": algorithm, "use": "sig", "kid": base64url.encode(digest)}
    if certificates:
        ders = [one.public_bytes(serialization.Encoding.DER) for one in certificates]
        jwk["x5c"] = [base64.b64encode(der).decode("ascii") for der in ders]  # base64, not base64url: RFC 7517, 4.7
        jwk["x5t#S256"] = base64url.encode(hashlib.sha256(ders[0]).digest())
    native: SignatureFormat = "DER" if isinstance(key, ec.EllipticCurvePublicKey) else "raw"
    return PublicKey(algorithm, jwk["kid"], jwk, native, key)


def raw_of_der(signature: tuple[int, int], curve: Curve) -> bytes:
    """Return r and s side by side, each as long as a coordinate (RFC 7518, section 3.4)."""
    return b"".join(number.to_bytes(curve.size, "big") for number in signature)


def _der_of_raw(signature: bytes, curve: Curve) -> bytes:
    """Return the DER form of r || s; b"", which verifies nothing, for a wrong length or numbers out of range."""
    if len(signature) != 2 * curve.size:
        return b""
    r, s = (int.from_bytes(half, "big") for half in (signature[: curve.size], signature[curve.size :]))
    # Java once took r = s = 0 for a signature of everything (CVE-2022-21449).
    return encode_dss_signature(r, s) if 0 < r < curve.order and 0 < s < curve.order else b""


def _members(key: object) -> tuple[str, dict[str, str]]:
    """Return the algorithm of a key and the members that its JSON form and its thumbprint need."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve = _CURVE_BY_NAME.get(key.curve.name)
        if curve is None:
            raise UnusableKey(f"lies on the curve {key.curve.name}; P-256, P-384, P-521 and secp256k1 are supported")
        point = key.public_numbers()
        x, y = (base64url.encode(number.to_bytes(curve.size, "big")) for number in (point.x, point.y))
        return curve.algorithm, {"kty": "EC", "crv": curve.crv, "x": x, "y": y}
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        name = "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "Ed448"
        return name, {"kty": "OKP", "crv": name, "x": base64url.encode(key.public_bytes_raw())}
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        _check_rsa(numbers)
        n, e = (
            base64url.encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))
            for number in (numbers.n, numbers.e)
        )
        return "RS256", {"kty": "RSA", "n": n, "e": e}
    kind = type(key).__name__.removesuffix("PublicKey")
    raise UnusableKey(f"is of the type {kind}; RSA, EC, Ed25519 and Ed448 are supported")


def _check_rsa(numbers: rsa.RSAPublicNumbers) -> None:
    bits = numbers.n.bit_length()
    if not LEAST_RSA_BITS <= bits <= MOST_RSA_BITS:
        raise UnusableKey(f"has {bits} bits; RSA keys of {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits are supported")
    # FIPS 186-5 wants an odd exponent above 2**16; OpenSSL verifies with at most 64 bits of it in a large key.
    if not (numbers.e % 2 and 2**16 < numbers.e < 2**64):
        raise UnusableKey(f"has the public exponent {numbers.e}; odd ones of 65537 to 2**64 are supported")
    if numbers.n % 2 == 0:
        raise UnusableKey("has an even modulus, which is no product of two large primes")


def from_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """Return the public key that a JWK describes; raise `UnusableKey` with what is wrong with it.

    Members that mean nothing to us are ignored, as RFC 7517, section 4, demands; private ones are refused, and so is
    whatever contradicts the key.
    """
    if private := sorted(_PRIVATE & set(jwk)):
        raise UnusableKey(f"holds the private member {private[0]!r}: that key is known to others now")
    key = _key_in(jwk)
    if jwk.get("use", "sig") != "sig":
        raise UnusableKey("is not meant for signatures (use)")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKey("is not meant to verify (key_ops)")
    found = public_key_of(key, _certificates_in(jwk))
    for name in ("alg", "kid", "x5t#S256"):
        if name in jwk and jwk[name] != found.jwk.get(name):
            raise UnusableKey(f"says {name} {jwk[name]!a}, but the key's own is {found.jwk.get(name)!r}")
    return found


def _key_in(jwk: Mapping[str, Any]) -> SupportedPublicKey:
    kty, crv = jwk.get("kty"), jwk.get("crv")
    try:
        if kty == "RSA":
            n, e = (int.from_bytes(_bytes_in(jwk, name), "big") for name in ("n", "e"))
            numbers = rsa.RSAPublicNumbers(e, n)
            _check_rsa(numbers)  # before the library sees it: it computes with numbers of any size
            return numbers.public_key()
        if kty == "OKP" and crv == "Ed25519":
            edwards.check_point(edwards.ED25519, data := _bytes_in(jwk, "x", 32))
            return ed25519.Ed25519PublicKey.from_public_bytes(data)
        if kty == "OKP" and crv == "Ed448":
            edwards.check_point(edwards.ED448, data := _bytes_in(jwk, "x", 57))
            return ed448.Ed448PublicKey.from_public_bytes(data)
        curve = next((one for one in CURVES if kty == "EC" and one.crv == crv), None)
        if curve is not None:
            x, y = (int.from_bytes(_bytes_in(jwk, name, curve.size), "big") for name in ("x", "y"))
            return ec.EllipticCurvePublicNumbers(x, y, curve.curve).public_key()
    except UnusableKey:
        raise
    except ValueError as error:
        raise UnusableKey(f"is no key of its type: {error}") from None
    raise UnusableKey(f"has kty {kty!a} and crv {crv!a}, which are not supported")


def _bytes_in(jwk: Mapping[str, Any], name: str, size: int | None = None) -> bytes:
    """Return a member that holds bytes: exactly `size` of them, or a number without leading zeros."""
    text = jwk.get(name)
    if not isinstance(text, str):
        raise UnusableKey(f"has no text {name!r}")
    try:
        data = base64url.decode(text)
    except ValueError as error:
        raise UnusableKey(f"has a member {name!r} that {error}") from None
    if size is None and data[:1] in (b"", b"\0"):
        raise UnusableKey(f"has an empty {name!r}, or one that begins with zeros (RFC 7518, section 6.3.1)")
    if size is not None and len(data) != size:
        raise UnusableKey(f"has {len(data)} bytes in {name!r}; its curve has {size}")
    return data


def _certificates_in(jwk: Mapping[str, Any]) -> list[x509.Certificate]:
    """Return the certificates of a JWK, after checking that the first one's key is the JWK's (RFC 7517, 4.7)."""
    if "x5c" not in jwk:
        return []
    chain = jwk["x5c"]
    if not isinstance(chain, list) or not chain or not all(isinstance(one, str) for one in chain):
        raise UnusableKey("has an x5c that is no list of certificates")
    try:
        found = [x509.load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in chain]
        certified = public_key_of(found[0].public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"has a certificate in x5c that cannot be used: {error}") from None
    if any(certified.jwk.get(name) != jwk.get(name) for name in ("kty", "crv", "x", "y", "n", "e")):
        raise UnusableKey("has a certificate in x5c that is another key's")
    return found
