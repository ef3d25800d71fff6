"""Keys on disk: every kind is loaded, and every mistake refused with its reason."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa

from minimon_server.errors import StartupError
from minimon_server.scores import key_files, key_making
from minimon_server.scores.key_files import load_checkpoint_key
from minimon_server.web import tls
from tests.scores import openssl
from tests.scores.key_scene import NOW, Scene
from tests.scores.openssl import ALGORITHMS, KINDS, needs_openssl, private_pem
from tests.support import settings_for


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(key_files.files_of(settings_for(tmp_path)))


@needs_openssl
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_is_loaded_plain_and_encrypted(scene: Scene, kind: str) -> None:
    scene.put_key(private_pem(kind))
    plain = scene.load()
    assert plain.public.algorithm == ALGORITHMS[kind]
    assert plain.fingerprint is None
    assert "no certificate" in scene.told.pop()
    scene.put_key(openssl.openssl("pkcs8 -topk8 -v2 aes-256-cbc -passout pass:sesame", given=private_pem(kind)))
    assert scene.load(b"sesame").public.key_id == plain.public.key_id
    assert scene.mistakes() == [f"{scene.files.key} is encrypted, and there is no passphrase for it"]
    assert scene.mistakes(b"wrong") == [f"{scene.files.key}: the passphrase is wrong, or the file is damaged"]


@needs_openssl
@pytest.mark.parametrize("kind", ["RSA-2048", "P-256"])
def test_the_old_forms_of_pem_are_loaded_too(scene: Scene, kind: str) -> None:
    scene.put_key(private_pem(kind))
    key_id = scene.load().public.key_id
    scene.put_key(openssl.openssl("pkey -traditional", given=private_pem(kind)))
    assert scene.load().public.key_id == key_id
    command = "rsa" if kind.startswith("RSA") else "ec"
    old = ["-traditional"] if command == "rsa" else []
    scene.put_key(openssl.openssl(f"{command} -aes128 -passout pass:sesame", *old, given=private_pem(kind)))
    assert b"Proc-Type: 4,ENCRYPTED" in scene.files.key.read_bytes()
    assert scene.load(b"sesame").public.key_id == key_id
    assert "no passphrase" in scene.mistakes()[0]
    assert "passphrase is wrong" in scene.mistakes(b"wrong")[0]


@needs_openssl
def test_what_openssl_writes_around_a_key_does_no_harm(scene: Scene) -> None:
    pem = private_pem("P-256 with parameters")
    assert pem.startswith(b"-----BEGIN EC PARAMETERS-----")
    scene.put_key(b"Bag Attributes\n" + pem)
    assert scene.load().public.algorithm == "ES256"


def openssh_key() -> bytes:
    key = serialization.load_pem_private_key(private_pem("Ed25519"), None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def dsa_key() -> bytes:
    return dsa.generate_private_key(2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def damaged_key() -> bytes:
    """Return a P-256 key whose public side, which PKCS #8 repeats, is off by one bit."""
    der = openssl.openssl("pkcs8 -topk8 -nocrypt -outform DER", given=private_pem("P-256"))
    body = base64.encodebytes(der[:-1] + bytes([der[-1] ^ 1])).decode("ascii")
    return f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n".encode()


@needs_openssl
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"", "must hold one private key in PEM; it holds none (nothing in PEM)"),
        (lambda: b"nonsense\n", "must hold one private key in PEM; it holds none (nothing in PEM)"),
        (lambda: b"x" * (key_files.MOST_BYTES + 1), "and so is no key"),
        (lambda: openssl.public_pem(private_pem("P-256")), "it holds none (public key)"),
        (lambda: private_pem("P-256") * 2, "it holds 2 (private key)"),
        (lambda: private_pem("P-256").replace(b"M", b"N"), "no private key can be read"),
        (lambda: private_pem("P-256")[:-30], "it holds none (private key)"),
        (damaged_key, "no private key can be read"),
        (openssh_key, "the form of OpenSSH"),
        (lambda: private_pem("RSA-1024"), "has 1024 bits; RSA keys of 2048 to 8192 bits are supported"),
        (lambda: private_pem("RSA-3"), "has the public exponent 3"),
        (lambda: private_pem("P-224"), "lies on the curve secp224r1"),
        (lambda: private_pem("brainpool"), "lies on the curve brainpoolP256r1"),
        (lambda: private_pem("X25519"), "is of the type X25519"),
        (lambda: private_pem("RSA-PSS"), "is an RSA-PSS key"),
        (dsa_key, "is of the type DSA"),
    ],
)
def test_a_key_that_cannot_sign_scores_is_refused(scene: Scene, content: Callable[[], bytes], reason: str) -> None:
    scene.put_key(content())
    (line,) = scene.mistakes()
    assert reason in line
    assert str(scene.files.key) in line


@needs_openssl
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777])
def test_a_key_that_others_may_read_or_write_is_refused(scene: Scene, mode: int) -> None:
    scene.put_key(private_pem("Ed25519"), mode)
    (line,) = scene.mistakes()
    assert f"(mode {mode:04o}): chmod 600 {scene.files.key}" in line


@needs_openssl
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_a_key_that_belongs_to_somebody_else_is_refused(scene: Scene) -> None:
    scene.put_key(private_pem("Ed25519"))
    os.chown(scene.files.key, 4711, 4711)
    assert "belongs to user 4711" in scene.mistakes()[0]


def test_what_is_no_file_is_refused_without_waiting_for_it(scene: Scene) -> None:
    scene.files.key.parent.mkdir()
    os.mkfifo(scene.files.key, 0o600)
    assert "is not a file" in scene.mistakes()[0]
    scene.files.key.unlink()
    scene.files.key.mkdir()
    assert scene.mistakes()[0].startswith(str(scene.files.key)) or "cannot read" in scene.mistakes()[0]
    scene.files.key.rmdir()
    scene.files.key.symlink_to("nowhere")
    assert "cannot read" in scene.mistakes()[0]


@needs_openssl
def test_a_passphrase_for_a_plain_key_is_told(scene: Scene) -> None:
    scene.put_key(private_pem("Ed25519"))
    scene.load(b"sesame")
    assert "is not encrypted" in scene.told[0]


def test_a_passphrase_without_a_key_makes_none(scene: Scene) -> None:
    assert "there is a passphrase but no key" in scene.mistakes(b"sesame")[0]
    assert not scene.files.key.exists()


@needs_openssl
def test_a_certificate_is_judged_by_its_key_its_dates_and_its_usage(scene: Scene) -> None:
    scene.put_key(private_pem("P-384"))
    scene.put_certificate()
    key = scene.load()
    assert key.fingerprint
    assert scene.told == []
    assert len(key.public.jwk["x5c"]) == 1
    assert "is not valid before" in scene.mistakes(now=NOW - timedelta(days=1))[0]
    assert "expired on" in scene.mistakes(now=NOW + timedelta(days=366))[0]
    scene.load(now=NOW + timedelta(days=340))
    assert "expires on" in scene.told.pop()
    scene.put_certificate("-addext", "keyUsage=critical,keyAgreement")
    assert "lacks digitalSignature" in scene.mistakes()[0]
    scene.put_certificate("-addext", "keyUsage=critical,digitalSignature")
    scene.load()
    scene.put_key(private_pem("P-256"))
    assert "do not belong together" in scene.mistakes()[0]
    assert len(scene.mistakes(now=NOW + timedelta(days=366))) == 2
    scene.files.certificate.write_text("nonsense")
    assert "is not a certificate in PEM" in scene.mistakes()[0]


def test_a_key_has_one_purpose(scene: Scene) -> None:
    files = scene.files
    tls.make_pair(files.tls_certificate, files.key, ["localhost"], NOW)
    (line,) = scene.mistakes()
    assert "one key has one purpose" in line
    assert str(files.tls_certificate) in line
    files.tls_certificate.unlink()
    key_making.make_checkpoint_key(files.checkpoint)
    files.key.write_bytes(files.checkpoint.read_bytes())
    signing = scene.load()
    with pytest.raises(StartupError, match="one key has one purpose"):
        load_checkpoint_key(files, signing.public, scene.told.append, may_make=False)


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (b"sesame", b"sesame"),
        (b"sesame\n", b"sesame"),
        (b"sesame\r\n", b"sesame"),
        (b" open  sesame ", b" open  sesame "),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"", None),
        (b"\n", None),
        (b"two\nlines\n", None),
    ],
)
def test_a_passphrase_file_is_one_line(tmp_path: Path, content: bytes, passphrase: bytes | None) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    settings = settings_for(tmp_path, MINIMON_SIGNING_KEY_PASSPHRASE_FILE="passphrase")
    path.chmod(0o640)
    with pytest.raises(StartupError, match="read or written by others"):
        key_files.passphrase_of(settings)
    path.chmod(0o600)
    if passphrase is None:
        with pytest.raises(StartupError, match="holds no passphrase"):
            key_files.passphrase_of(settings)
    else:
        assert key_files.passphrase_of(settings) == passphrase


def test_a_passphrase_comes_from_the_variable_too(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, MINIMON_SIGNING_KEY_PASSPHRASE="clé ouverte")
    assert key_files.passphrase_of(settings) == "clé ouverte".encode()
    assert key_files.passphrase_of(settings_for(tmp_path)) is None
