"""Keys that are made when there are none: once, whole, private, and such that openssl agrees."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from minimon_server.errors import StartupError
from minimon_server.scores import key_files, key_making
from minimon_server.scores.key_files import load_checkpoint_key
from tests.scores import openssl
from tests.scores.key_scene import NOW, Scene
from tests.scores.openssl import needs_openssl, private_pem
from tests.support import HOME, settings_for


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(key_files.files_of(settings_for(tmp_path)))


def test_without_any_file_a_pair_is_made_that_openssl_trusts(scene: Scene) -> None:
    key = scene.load()
    assert key.public.algorithm == "ES256"
    assert len(scene.told) == 1
    assert scene.told[0].startswith("made a key that signs scores")
    assert stat.S_IMODE(scene.files.key.stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate(scene.files.certificate.read_bytes())
    assert timedelta(days=3650) < certificate.not_valid_after_utc - NOW < timedelta(days=3655)
    assert sorted(one.name for one in scene.files.key.parent.iterdir()) == [
        "app_signing_cert.pem",
        "app_signing_key.pem",
    ]
    again = scene.load()
    assert (again.public.key_id, again.fingerprint) == (key.public.key_id, key.fingerprint)
    assert len(scene.told) == 1


@needs_openssl
def test_openssl_reads_the_made_pair_and_prints_the_same_fingerprint(scene: Scene) -> None:
    key = scene.load()
    certificate = scene.files.certificate
    openssl.openssl("verify -x509_strict -CAfile", certificate, certificate)
    printed = openssl.openssl("x509 -noout -fingerprint -sha256 -in", certificate).decode().strip()
    assert key.fingerprint == printed.partition("=")[2].replace(":", "").lower()
    assert openssl.openssl("x509 -noout -pubkey -in", certificate) == openssl.public_pem(scene.files.key.read_bytes())


def test_processes_that_start_at_once_agree_on_one_pair(scene: Scene) -> None:
    program = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from minimon_server.scores.key_files import KeyFiles, load_checkpoint_key, load_signing_key\n"
        "files = KeyFiles(*(Path(one) for one in sys.argv[1:]))\n"
        "sys.stdin.readline()\n"
        "key = load_signing_key(files, None, datetime.now(UTC), print)\n"
        "checkpoint = load_checkpoint_key(files, key.public, print, may_make=True)\n"
        "print(key.public.key_id, key.fingerprint, checkpoint.public.key_id)\n"
    )
    files = scene.files
    names = [str(one) for one in (files.key, files.certificate, files.checkpoint, files.tls_certificate)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, *names], cwd=HOME, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(5)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate()[0].splitlines() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 5
    assert len({lines[-1] for lines in said}) == 1
    assert len([line for lines in said for line in lines if line.startswith("made a key that signs scores")]) == 1
    assert len(list(files.key.parent.iterdir())) == 3


def test_a_certificate_without_its_key_is_refused_and_left_alone(scene: Scene) -> None:
    scene.load()
    scene.files.key.unlink()
    kept = scene.files.certificate.read_bytes()
    assert "is missing while its certificate" in scene.mistakes()[0]
    with pytest.raises(StartupError, match="is missing while its certificate"):
        key_files.signing_pair_is_missing(scene.files)
    assert scene.files.certificate.read_bytes() == kept
    assert [one.name for one in scene.files.key.parent.iterdir()] == ["app_signing_cert.pem"]


@needs_openssl
def test_the_checkpoint_key_is_ed25519_and_made_only_when_it_may_be(scene: Scene) -> None:
    signing = scene.load().public
    with pytest.raises(StartupError, match="is missing, the key that signed the checkpoints"):
        load_checkpoint_key(scene.files, signing, scene.told.append, may_make=False)
    made = load_checkpoint_key(scene.files, signing, scene.told.append, may_make=True)
    assert "made a key that signs the ledger's checkpoints" in scene.told[-1]
    assert stat.S_IMODE(scene.files.checkpoint.stat().st_mode) == 0o600
    again = load_checkpoint_key(scene.files, signing, scene.told.append, may_make=False)
    assert made.public.key_id == again.public.key_id
    scene.files.checkpoint.write_bytes(private_pem("P-256"))
    with pytest.raises(StartupError, match="checkpoints are signed with Ed25519"):
        load_checkpoint_key(scene.files, signing, scene.told.append, may_make=True)
    scene.files.checkpoint.chmod(0o644)
    with pytest.raises(StartupError, match="chmod 600"):
        load_checkpoint_key(scene.files, signing, scene.told.append, may_make=True)


def test_a_folder_that_cannot_be_written_is_told_and_left_clean(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StartupError, match="cannot write"):
        key_making.make_signing_pair(tmp_path / "file" / "key.pem", tmp_path / "cert.pem", NOW)
    assert (tmp_path / "file").read_text() == "in the way"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
