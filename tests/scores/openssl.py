"""The program openssl as the other side: it makes keys and judges signatures. Knows no code of ours."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    not shutil.which("openssl") and os.environ.get("CI") != "true", reason="openssl is not installed here"
)
_MAKING = {
    "RSA-2048": "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    "RSA-3072": "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072",
    "RSA-4096": "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096",
    "P-256": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    "P-384": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
    "P-521": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521",
    "secp256k1": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
    "Ed25519": "genpkey -algorithm ED25519",
    "Ed448": "genpkey -algorithm ED448",
    # What scores are not signed with.
    "RSA-1024": "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024",
    "RSA-3": "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3",
    "P-224": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-224",
    "brainpool": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1",
    "RSA-PSS": "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
    "X25519": "genpkey -algorithm X25519",
    # As `openssl ecparam` writes it: EC PARAMETERS before the key.
    "P-256 with parameters": "ecparam -name prime256v1 -genkey",
}
ALGORITHMS = {
    "RSA-2048": "RS256",
    "RSA-3072": "RS256",
    "RSA-4096": "RS256",
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "secp256k1": "ES256K",
    "Ed25519": "Ed25519",
    "Ed448": "Ed448",
}
KINDS = tuple(ALGORITHMS)
_DIGESTS = {"RS256": "sha256", "ES256": "sha256", "ES384": "sha384", "ES512": "sha512", "ES256K": "sha256"}


def openssl(command: str, *arguments: str | Path, given: bytes = b"") -> bytes:
    """Run openssl with the words of `command` and `arguments`; return what it writes."""
    line = ["openssl", *command.split(), *(str(one) for one in arguments)]
    return subprocess.run(line, input=given, capture_output=True, check=True).stdout


@functools.cache
def private_pem(kind: str) -> bytes:
    """Return one key of a kind, the same for every test."""
    return openssl(_MAKING[kind])


def public_pem(private: bytes) -> bytes:
    """Return the public side of a private key."""
    return openssl("pkey -pubout", given=private)


def accepts(folder: Path, kind: str, message: bytes, signature: bytes) -> bool:
    """Return whether openssl takes `signature`, in DER for elliptic curves, for one of `message`."""
    key, text, signed = folder / "public.pem", folder / "message", folder / "signature"
    key.write_bytes(public_pem(private_pem(kind)))
    text.write_bytes(message)
    signed.write_bytes(signature)
    digest = _DIGESTS.get(ALGORITHMS[kind])
    command: list[str | Path]
    if digest:
        command = ["openssl", "dgst", f"-{digest}", "-verify", key, "-signature", signed, text]
    else:
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", text, "-sigfile", signed]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def certificate_pem(private: Path, *extra: str, days: int = 365) -> bytes:
    """Return a certificate that a key signs for itself."""
    return openssl("req -x509 -new -subj /CN=scores", "-key", private, "-days", str(days), *extra)
