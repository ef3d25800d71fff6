"""A key that signs, and the three forms a signature takes: native, raw and JWS. Reads no file, knows no claim."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from minimon_server.scores import base64url
from minimon_server.scores.public_keys import PublicKey, UnusableKey, curve_of, public_key_of, raw_of_der

Form = Literal["native", "raw", "jws"]
SealFormat = Literal["DER", "raw", "jws"]
SupportedPrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey

FORMS: Final[tuple[Form, ...]] = ("native", "raw", "jws")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signature as an answer carries it: base64, or a whole compact JWS (RFC 7515, section 3.1)."""

    signature_b64: str
    signature_format: SealFormat


class SigningKey:
    """A private key with its public side; `fingerprint` is its certificate's SHA-256 in hexadecimal, None without."""

    def __init__(self, private: object, certificates: Sequence[x509.Certificate] = ()) -> None:
        """`certificates`: the key's own first. Raise `UnusableKey` for a key that scores are not signed with."""
        public = getattr(private, "public_key", None)
        self.public: Final = public_key_of(public() if public else private, certificates)
        assert isinstance(private, SupportedPrivateKey)
        self._private = private
        curve = curve_of(self.public.algorithm)
        self._ecdsa = ec.ECDSA(curve.hash) if curve else None
        self.fingerprint: Final = certificates[0].fingerprint(hashes.SHA256()).hex() if certificates else None

    def sign(self, message: bytes) -> bytes:
        """Return a signature of `message` in the key's native format; no other thread runs meanwhile."""
        private = self._private
        if isinstance(private, ec.EllipticCurvePrivateKey):
            assert self._ecdsa is not None
            return private.sign(message, self._ecdsa)
        if isinstance(private, rsa.RSAPrivateKey):
            return private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return private.sign(message)

    def pkcs8(self) -> bytes:
        """Return the private key itself, in PKCS #8 DER: for the process that signs in our stead, and nobody else."""
        return self._private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def from_pkcs8(data: bytes) -> SigningKey:
    """Return the key that `pkcs8` gave away; raise `UnusableKey` when it is none."""
    try:
        return SigningKey(serialization.load_der_private_key(data, None))
    except (ValueError, TypeError) as error:
        raise UnusableKey(f"is no private key: {error}") from None


def signing_input(form: Form, canonical: bytes, public: PublicKey) -> bytes:
    """Return the bytes to be signed: the canonical ones, for a JWS its header and them in base64url."""
    return _jws_input(canonical, public).encode("ascii") if form == "jws" else canonical


def finish(form: Form, signature: bytes, canonical: bytes, public: PublicKey) -> Sealed:
    """Return `signature`, which is native and of `signing_input`, in the form that was asked for."""
    curve = curve_of(public.algorithm)
    if form == "native":
        return Sealed(base64.b64encode(signature).decode("ascii"), public.native_format)
    raw = raw_of_der(decode_dss_signature(signature), curve) if curve else signature
    if form == "raw":
        return Sealed(base64.b64encode(raw).decode("ascii"), "raw")
    return Sealed(f"{_jws_input(canonical, public)}.{base64url.encode(raw)}", "jws")


def seal(key: SigningKey, canonical: bytes, form: Form) -> Sealed:
    """Sign here and now; where that takes too long, `signing_input` and `finish` stand around a `Signer`."""
    return finish(form, key.sign(signing_input(form, canonical, key.public)), canonical, key.public)


def check_seal(
    public: PublicKey, canonical: bytes, signature_b64: str, signature_format: str, algorithm: str
) -> str | None:
    """Return why this is no signature of the canonical bytes by this key, or None when it is one."""
    if algorithm != public.algorithm:
        return f"the algorithm is said to be {algorithm!a}, but the key is one for {public.algorithm}"
    if signature_format == "jws":
        return _check_jws(public, canonical, signature_b64)
    if signature_format not in ("raw", public.native_format):
        return f"a signature by {public.algorithm} has no format {signature_format!a}"
    try:
        signature = base64.b64decode(signature_b64, validate=True)
    except ValueError:
        return "the signature is not base64"
    # One signature, one spelling: nobody can make a second record out of the same one.
    if base64.b64encode(signature).decode("ascii") != signature_b64:
        return "the signature is not base64 in its one spelling"
    return None if public.verify(signature, canonical, signature_format) else "the signature does not fit"


def _jws_input(canonical: bytes, public: PublicKey) -> str:
    header = f'{{"alg":"{public.algorithm}","kid":"{public.key_id}"}}'.encode("ascii")
    return f"{base64url.encode(header)}.{base64url.encode(canonical)}"


def _check_jws(public: PublicKey, canonical: bytes, compact: str) -> str | None:
    parts = compact.split(".")
    if len(parts) != 3:
        return "the JWS has not three parts"
    try:
        header, payload, signature = (base64url.decode(part) for part in parts)
    except ValueError as error:
        return f"a part of the JWS {error}"
    if payload != canonical:
        return "the JWS carries other bytes than the canonical ones"
    if reason := _check_header(public, header):
        return reason
    if not public.verify(signature, f"{parts[0]}.{parts[1]}".encode("ascii"), "raw"):
        return "the signature does not fit"
    return None


def _check_header(public: PublicKey, header: bytes) -> str | None:
    """Judge the header of a JWS: the key is known beforehand, so it may say nothing but which one that is."""
    try:
        pairs = json.loads(header.decode("utf-8"), object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return "the header of the JWS is not JSON"
    if not isinstance(pairs, tuple):  # an object alone becomes one, and keeps a member that comes twice
        return "the header of the JWS is no JSON object"
    members: dict[str, Any] = dict(pairs)
    if len(members) != len(pairs):
        return "the header of the JWS names a member twice"
    if foreign := sorted(set(members) - {"alg", "kid"}):
        # "crit", "b64": false (RFC 7797) and the rest change what is signed, or bring a key of their own.
        return f"the header of the JWS holds {foreign[0]!a}; only alg and kid are understood"
    if (said := members.get("alg")) != public.algorithm:
        return f"the header of the JWS says alg {said!a}, but the key is one for {public.algorithm}"
    if members.get("kid", public.key_id) != public.key_id:
        return "the header of the JWS names another key (kid)"
    return None
