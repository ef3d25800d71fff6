"""Makes the keys of scores where there are none: whole files or none, for one process at a time. Judges nothing."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from minimon_server.disk import make_folder, sync_folder
from minimon_server.errors import StartupError

# Ten years: nobody is asked to trust this certificate; it names the key for as long as a game may live.
LIFETIME: Final = timedelta(days=3652)


def make_signing_pair(key: Path, certificate: Path, now: datetime) -> bool:
    """Make a P-256 key (mode 0600) and a certificate that it signs itself; False when another process just did.

    Raise `StartupError` when they cannot be written; nothing that is there is ever replaced.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    built = _certificate(private, now).public_bytes(serialization.Encoding.PEM)
    return _make([(certificate, built, 0o644), (key, _pem(private), 0o600)])


def make_checkpoint_key(path: Path) -> bool:
    """Make an Ed25519 key (mode 0600), as `make_signing_pair` makes its pair."""
    return _make([(path, _pem(ed25519.Ed25519PrivateKey.generate()), 0o600)])


def half_a_pair(key: Path, certificate: Path) -> StartupError:
    """Return the mistake of a certificate that has lost its key: a new key would contradict it."""
    return StartupError(
        [
            f"{key} is missing while its certificate {certificate} is there: restore the key, or move the certificate "
            "away to have both made"
        ]
    )


def _pem(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(private: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Minimon scores")])
    identity = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    # Signatures and nothing else: neither certificates nor the listing of revoked ones.
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identity, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identity), critical=False)
        .sign(private, hashes.SHA256())
    )


def _make(files: list[tuple[Path, bytes, int]]) -> bool:
    """Make all of `files` (path, content, mode), the last of them the one that says that all are there.

    All are on disk under passing names before the first gets its own, so that a full disk leaves none behind.
    """
    said = " and ".join(str(path) for path, _, _ in files)
    try:
        for path, _, _ in files:
            make_folder(path.parent)
        with _alone_in(files[-1][0].parent):
            if os.path.lexists(files[-1][0]):
                return False
            for path, _, _ in files:
                if os.path.lexists(path):
                    raise half_a_pair(files[-1][0], path)
            _put(files)
    except OSError as error:
        raise StartupError([f"cannot write {said}: {error.strerror}"]) from error
    return True


def _put(files: list[tuple[Path, bytes, int]]) -> None:
    written: list[Path] = []
    placed: list[Path] = []
    try:
        for path, content, mode in files:
            written.append(_write_beside(path, content, mode))
        for passing, (path, _, _) in zip(written, files, strict=True):
            # Unlike a renaming, a link never replaces what is there.
            os.link(passing, path)
            placed.append(path)
    except BaseException:
        for path in placed:
            path.unlink()
        raise
    finally:
        for passing in written:
            passing.unlink()
    for folder in {path.parent for path, _, _ in files}:
        sync_folder(folder)


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if sys.platform != "win32":
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which leaves no file behind: two servers that start at once make one key, not two."""
    if sys.platform == "win32":
        yield  # there the links alone decide: the second process fails and says what is in the way
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
