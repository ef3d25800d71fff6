"""The keys of scores on disk: loaded and judged, each mistake in one line. Making them is `key_making`'s."""

from __future__ import annotations

import base64
import os
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from minimon_server.errors import StartupError
from minimon_server.scores import key_making
from minimon_server.scores.public_keys import PublicKey, UnusableKey, public_key_of
from minimon_server.scores.signing import SigningKey
from minimon_server.settings import Settings

SOON: Final = timedelta(days=30)
# A key of 8192 bits and a chain of certificates fit many times; a device or a log by mistake does not.
MOST_BYTES: Final = 256 * 1024
# OpenSSL takes no longer passphrase for a PEM file.
LONGEST_PASSPHRASE: Final = 1023
_RSASSA_PSS: Final = bytes.fromhex("06092a864886f70d01010a")  # the object identifier 1.2.840.113549.1.1.10 in DER
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where the keys of scores lie, and the TLS certificate, whose key may be none of them."""

    key: Path
    certificate: Path
    checkpoint: Path
    tls_certificate: Path


def files_of(settings: Settings) -> KeyFiles:
    """Return the files that the settings name."""
    return KeyFiles(
        settings.signing_key_path,
        settings.signing_cert_path,
        settings.checkpoint_key_path,
        settings.tls_cert_path,
    )


def passphrase_of(settings: Settings) -> bytes | None:
    """Return the signing key's passphrase, from the variable or from the first line of its file; None without one."""
    path = settings.signing_key_passphrase_file
    if path is None:
        return settings.signing_key_passphrase.get_secret_value().encode("utf-8") or None
    content = _read_secret(path)
    passphrase = content.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase or b"\n" in passphrase:
        raise StartupError([f"{path} holds no passphrase: it must be one line that is not empty"])
    return passphrase


def signing_pair_is_missing(files: KeyFiles) -> bool:
    """Return whether key and certificate are both missing; raise `StartupError` when a certificate has lost its key."""
    if os.path.lexists(files.key):
        return False
    if os.path.lexists(files.certificate):
        raise key_making.half_a_pair(files.key, files.certificate)
    return True


def load_signing_key(files: KeyFiles, passphrase: bytes | None, now: datetime, tell: Tell) -> SigningKey:
    """Return the key that signs scores, made if it and its certificate are missing; `tell` hears what is remarkable.

    Raise `StartupError` with one line per mistake.
    """
    if not os.path.lexists(files.key):
        if passphrase:
            raise StartupError(
                [f"there is a passphrase but no key: {files.key} is missing, and keys that are made are not encrypted"]
            )
        if key_making.make_signing_pair(files.key, files.certificate, now):
            tell(f"made a key that signs scores, and its certificate: {files.key} and {files.certificate}")
    private = _load_private(files.key, passphrase, tell)
    certificates = _load_certificates(files.certificate) if os.path.lexists(files.certificate) else []
    if not certificates:
        tell(f"{files.key} has no certificate ({files.certificate}): scores will carry no fingerprint")
    key = _signing_key(files.key, private, certificates)
    mistakes = _mistakes_of(files, certificates[0], key.public, now, tell) if certificates else []
    if _is_tls_key(files, key.public):
        mistakes.append(f"{files.key} holds the key of the TLS certificate {files.tls_certificate}: {_ONE_PURPOSE}")
    if mistakes:
        raise StartupError(mistakes)
    return key


def load_checkpoint_key(files: KeyFiles, signing: PublicKey, tell: Tell, *, may_make: bool) -> SigningKey:
    """Return the Ed25519 key that signs checkpoints; made when it is missing, if it may be.

    A ledger with a checkpoint is bound to the key that signed it: then another key would not do, and `may_make` is
    False. Raise `StartupError` when the key cannot be used.
    """
    path = files.checkpoint
    if not os.path.lexists(path):
        if not may_make:
            raise StartupError([f"{path} is missing, the key that signed the checkpoints of the ledger: restore it"])
        if key_making.make_checkpoint_key(path):
            tell(f"made a key that signs the ledger's checkpoints: {path}")
    key = read_checkpoint_key(path)
    if key.public.key_id == signing.key_id:
        raise StartupError([f"{path} holds the key that signs scores, as {files.key} does: {_ONE_PURPOSE}"])
    if _is_tls_key(files, key.public):
        raise StartupError([f"{path} holds the key of the TLS certificate {files.tls_certificate}: {_ONE_PURPOSE}"])
    return key


def read_checkpoint_key(path: Path) -> SigningKey:
    """Return the key in a file, if checkpoints can be signed with it; raise `StartupError` otherwise."""
    key = _signing_key(path, _load_private(path, None, _nobody), [])
    if key.public.algorithm != "Ed25519":
        raise StartupError([f"{path} is a key for {key.public.algorithm}; checkpoints are signed with Ed25519"])
    return key


_ONE_PURPOSE: Final = "one key has one purpose, give each its own"


def _nobody(remarkable: str) -> None:
    raise AssertionError(f"without a passphrase there is nothing remarkable: {remarkable}")


def _signing_key(path: Path, private: object, certificates: list[x509.Certificate]) -> SigningKey:
    """Return the key after a trial signature: a damaged file must not come to light in the first answer."""
    try:
        key = SigningKey(private, certificates)
        whole = key.public.verify(key.sign(b"a trial"), b"a trial", key.public.native_format)
    except UnusableKey as error:
        raise StartupError([f"the key in {path} {error}"]) from None
    except ValueError as error:
        raise StartupError([f"the key in {path} cannot sign: {error}"]) from None
    if not whole:
        raise StartupError([f"the key in {path} is damaged: its signatures do not fit its public side"])
    return key


def _load_private(path: Path, passphrase: bytes | None, tell: Tell) -> object:
    content = _read_secret(path)
    blocks = list(_PRIVATE_KEY.finditer(content))
    if len(blocks) != 1:
        found = re.findall(rb"-----BEGIN ([A-Z0-9 ]+)-----", content)
        held = ", ".join(sorted({name.decode("ascii").lower() for name in found})) or "nothing in PEM"
        raise StartupError([f"{path} must hold one private key in PEM; it holds {len(blocks) or 'none'} ({held})"])
    # What openssl writes around it, such as EC PARAMETERS, is not needed.
    pem = blocks[0][0] + b"\n"
    if blocks[0][1] == b"OPENSSH PRIVATE KEY":
        raise StartupError([f"{path} holds a key in the form of OpenSSH; 'ssh-keygen -p -m PKCS8' changes that"])
    encrypted = blocks[0][1] == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in pem
    if encrypted and not passphrase:
        raise StartupError([f"{path} is encrypted, and there is no passphrase for it"])
    if passphrase and not encrypted:
        tell(f"{path} is not encrypted: its passphrase is not needed, and protects nothing")
    if passphrase and len(passphrase) > LONGEST_PASSPHRASE:
        raise StartupError([f"the passphrase of {path} has more than {LONGEST_PASSPHRASE} bytes"])
    try:
        if not encrypted and _RSASSA_PSS in base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))[:64]:
            # The library forgets that such a key may not sign in the way of RS256.
            raise StartupError([f"{path} is an RSA-PSS key; RSA keys without that limit are supported"])
        return serialization.load_pem_private_key(pem, passphrase if encrypted else None)
    except UnsupportedAlgorithm as error:
        raise StartupError([f"{path} holds a key of a type or on a curve that is not supported: {error}"]) from None
    except (ValueError, TypeError) as error:
        why = "the passphrase is wrong, or the file is damaged" if encrypted else f"no private key can be read: {error}"
        raise StartupError([f"{path}: {why}"]) from None


def _read_secret(path: Path) -> bytes:
    """Return what a file holds that nobody else may read or write; raise `StartupError` when others may."""
    try:
        # Non-blocking, or a pipe in the file's place would hold the start up for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as file:
            # Of the open file, not of the path: the path may mean another file by now.
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise StartupError([f"{path} is not a file"])
            if sys.platform != "win32":
                _check_private(path, status)
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise StartupError([f"cannot read {path}: {error.strerror}"]) from None
    if len(content) > MOST_BYTES:
        raise StartupError([f"{path} has more than {MOST_BYTES} bytes, and so is no key"])
    return content


def _check_private(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise StartupError([f"{path} may be read or written by others (mode {mode:04o}): chmod 600 {path}"])
    if status.st_uid not in (os.geteuid(), 0):
        raise StartupError([f"{path} belongs to user {status.st_uid}, who may change it; it must be ours or root's"])


def _load_certificates(path: Path) -> list[x509.Certificate]:
    try:
        with open(path, "rb") as file:
            return x509.load_pem_x509_certificates(file.read(MOST_BYTES))
    except OSError as error:
        raise StartupError([f"cannot read {path}: {error.strerror}"]) from None
    except ValueError as error:
        raise StartupError([f"{path} is not a certificate in PEM: {error}"]) from None


def _mistakes_of(
    files: KeyFiles, certificate: x509.Certificate, public: PublicKey, now: datetime, tell: Tell
) -> list[str]:
    path, mistakes = files.certificate, []
    if _key_id(certificate) != public.key_id:
        mistakes.append(f"{path} and {files.key} do not belong together: the certificate is another key's")
    elif certificate.public_key_algorithm_oid == x509.PublicKeyAlgorithmOID.RSASSA_PSS:
        mistakes.append(f"{path} is for RSA-PSS alone; scores are signed with RS256")
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        mistakes.append(f"{path} is not valid before {begins:%Y-%m-%d %H:%M} UTC")
    elif now > ends:
        mistakes.append(f"{path} expired on {ends:%Y-%m-%d %H:%M} UTC")
    elif ends - now < SOON:
        tell(f"{path} expires on {ends:%Y-%m-%d}; from then on the server will not start with it")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        pass  # a certificate without it sets no limits (RFC 5280, section 4.2.1.3)
    except ValueError as error:
        mistakes.append(f"{path} has extensions that cannot be read: {error}")
    else:
        if not usage.digital_signature:
            mistakes.append(f"{path} does not allow signatures: its key usage lacks digitalSignature")
    return mistakes


def _key_id(certificate: x509.Certificate) -> str | None:
    """Return the thumbprint of a certificate's key, None for a key that could not be one of ours."""
    try:
        return public_key_of(certificate.public_key()).key_id
    except (ValueError, UnsupportedAlgorithm):
        return None


def _is_tls_key(files: KeyFiles, public: PublicKey) -> bool:
    try:
        certificate = x509.load_pem_x509_certificates(files.tls_certificate.read_bytes())[0]
    except (OSError, ValueError):
        return False  # none yet, or one that the listeners will refuse with a reason of their own
    return _key_id(certificate) == public.key_id
