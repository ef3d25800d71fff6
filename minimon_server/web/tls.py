"""The TLS certificate: made when there is none, checked when there is one. Owns the two files, listens nowhere."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minimon_server.errors import StartupError
from minimon_server.logs import Lines
from minimon_server.settings import Settings

if TYPE_CHECKING:
    from cryptography import x509

# Apple's systems refuse server certificates that live longer, even when a person has chosen to trust them.
LIFETIME: Final = timedelta(days=825)
SOON: Final = timedelta(days=30)


class KeyIsThere(Exception):
    """A key is never overwritten: whoever made it first is making the certificate, too."""


def pair_is_missing(certificate: Path, key: Path) -> bool:
    """Return whether both files are missing; raise `StartupError` when only one is."""
    missing = [path for path in (certificate, key) if not path.exists()]
    if len(missing) == 1:
        there = key if missing[0] == certificate else certificate
        raise StartupError(
            [f"{missing[0]} is missing while {there} is there: restore it, or move the other away to have both made"]
        )
    return bool(missing)


def check_that_a_pair_can_be_made(*paths: Path) -> None:
    """Raise `StartupError` when a folder that the files would go to cannot be written."""
    for path in paths:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise StartupError([f"cannot write {path}: {folder} is not a folder that this user may write to"])


def names_of_this_machine(settings: Settings) -> list[str]:
    """Return the names and addresses under which clients may call this server."""
    names = ["localhost", socket.gethostname(), "127.0.0.1", "::1"]
    if not settings.is_everywhere:
        names.append(settings.host)
    return list(dict.fromkeys(name for name in names if name.isascii() and 0 < len(name) < 64))


def make_pair_if_missing(
    certificate: Path, key: Path, names: Iterable[str], now: datetime, *, patience: float = 3.0
) -> bool:
    """Make the pair if both files are missing, and return whether this call has made it.

    Several servers may start for the first time at once: one makes the pair, the others take it. Whoever sees only a
    key waits `patience` seconds for the certificate that belongs to it. Raise `StartupError` as `pair_is_missing` does.
    """
    deadline = time.monotonic() + patience
    while True:
        missing = [path for path in (certificate, key) if not path.exists()]
        if not missing:
            return False
        late = time.monotonic() >= deadline
        if len(missing) == 2:
            try:
                make_pair(certificate, key, names, now)
            except KeyIsThere as error:
                if late:
                    raise StartupError([f"cannot write {key}: something is in the way that leads nowhere"]) from error
            else:
                return True
        elif late or missing == [key]:
            pair_is_missing(certificate, key)
        time.sleep(0.05)


def make_pair(certificate: Path, key: Path, names: Iterable[str], now: datetime) -> None:
    """Make a P-256 key (mode 0600) and a certificate that it signs itself, for `names` (host names and addresses).

    The key comes first and is never overwritten, so that only one of several makers goes on to the certificate, which
    appears whole or not at all. Raise `KeyIsThere` when there is a key, `StartupError` when nothing can be written.
    """
    # Imported here: a server that has its certificate starts without this.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Minimon server")])
    identity = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identity, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identity), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        _write_new(key, secret)
        _write(certificate, built.public_bytes(encoding), 0o644)
    except OSError as error:
        raise StartupError([f"cannot write {certificate} and {key}: {error.strerror}"]) from error


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and newer; raise `StartupError` when the pair cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # For TLS 1.2: forward secrecy and authenticated encryption alone, as Mozilla's "intermediate" profile has it.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password=_no_password)
    except OSError as error:
        raise StartupError([_reason(error, certificate, key)]) from error
    return context


async def reload_on_change(
    context: ssl.SSLContext | None, certificate: Path, key: Path, lines: Lines, seconds: float = 1.0
) -> None:
    """Load the pair anew whenever a file of it changes; new connections get the new certificate.

    A pair that cannot be used, such as one that is half written, is told in the log, and the old one stays.
    """
    if context is None:
        return
    loaded: tuple[object, ...] | None = _stamp(certificate, key)
    while True:
        await asyncio.sleep(seconds)
        stamp = _stamp(certificate, key)
        if stamp == loaded:
            continue
        loaded = stamp
        try:
            server_context(certificate, key)
            context.load_cert_chain(certificate, key, password=_no_password)
        except StartupError as error:
            lines.tell("warning", "the changed TLS certificate is not used", {"reason": str(error)})
        except OSError as error:
            # The files changed once more between the two looks at them: this watch must outlive that.
            loaded = None
            lines.tell(
                "warning", "the changed TLS certificate is not used", {"reason": _reason(error, certificate, key)}
            )
        else:
            lines.tell("info", "the changed TLS certificate is used from now on", {"certificate": str(certificate)})


def _stamp(*paths: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what tells one state of the files from another: inode, size and time of change, None where missing."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(stamps)


def certificate_warning(certificate: Path, now: datetime) -> str | None:
    """Return what the operator should know of a certificate's dates: outside them clients refuse, OpenSSL does not."""
    from cryptography import x509

    try:
        loaded = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError) as error:
        return f"the dates of {certificate} cannot be read: {error}"
    if now < loaded.not_valid_before_utc:
        return f"{certificate} is not valid before {loaded.not_valid_before_utc:%Y-%m-%d}"
    left = loaded.not_valid_after_utc - now
    if left < SOON:
        verb = "expired" if left < timedelta(0) else "expires"
        return f"{certificate} {verb} on {loaded.not_valid_after_utc:%Y-%m-%d}"
    return None


def _no_password() -> str:
    raise OSError("the key is encrypted, and TLS keys with a password are not supported")


def _reason(error: OSError, certificate: Path, key: Path) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{certificate} and {key} do not belong together"
        return f"{certificate} and {key} are not a certificate and a private key in PEM ({error.reason or error})"
    return f"cannot use {certificate} and {key}: {error.strerror or error}"


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is its user's alone, and that was not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError as error:
        raise KeyIsThere from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)
