"""The certificate: what is made can be trusted, what is found is checked, and openssl agrees."""

from __future__ import annotations

import os
import shutil
import ssl
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from minimon_server.errors import StartupError
from minimon_server.web import tls
from tests.support import settings_for

NAMES = ["localhost", "127.0.0.1", "::1", "game.example"]

needs_openssl = pytest.mark.skipif(
    not shutil.which("openssl") and os.environ.get("CI") != "true", reason="openssl is not installed here"
)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "new" / "cert.pem", tmp_path / "new" / "key.pem"
    tls.make_pair(certificate, key, NAMES, tls.utc_now())
    return certificate, key


def test_a_made_pair_can_be_used_and_is_private(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not tls.pair_is_missing(certificate, key)
    context = tls.server_context(certificate, key)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls.certificate_warning(certificate, tls.utc_now()) is None


def test_only_forward_secret_authenticated_ciphers_are_offered(pair: tuple[Path, Path]) -> None:
    names = [cipher["name"] for cipher in tls.server_context(*pair).get_ciphers()]
    assert names
    assert all(name.startswith("TLS_") or (name.startswith("ECDHE") and "CBC" not in name) for name in names)
    assert all("GCM" in name or "CHACHA20" in name or name.startswith("TLS_") for name in names)


@needs_openssl
@pytest.mark.parametrize("name", NAMES)
def test_openssl_verifies_it_for_every_name(pair: tuple[Path, Path], name: str) -> None:
    certificate, _ = pair
    check = ["-verify_ip", name] if name[0] in "1:" else ["-verify_hostname", name]
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *check, "-CAfile", str(certificate)]
    done = subprocess.run([*command, str(certificate)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_one_file_is_a_mistake_that_names_it(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    for gone, left in ((certificate, key), (key, certificate)):
        kept = gone.read_bytes()
        gone.unlink()
        with pytest.raises(StartupError, match=f"{gone.name} is missing while .*{left.name}"):
            tls.pair_is_missing(certificate, key)
        gone.write_bytes(kept)


def test_a_pair_that_does_not_belong_together_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, _ = pair
    other = tmp_path / "other"
    tls.make_pair(other / "cert.pem", other / "key.pem", NAMES, tls.utc_now())
    with pytest.raises(StartupError, match="do not belong together"):
        tls.server_context(certificate, other / "key.pem")


def test_files_that_are_no_pem_are_told(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    key.write_text("nonsense")
    with pytest.raises(StartupError, match="not a certificate and a private key"):
        tls.server_context(certificate, key)


def test_an_encrypted_key_is_refused_without_asking_at_the_terminal(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(StartupError, match="encrypted"):
        tls.server_context(certificate, key)


@pytest.mark.parametrize(
    ("age", "word"),
    [
        (timedelta(days=-1), "not valid before"),
        (timedelta(days=800), "expires on"),
        (timedelta(days=900), "expired on"),
    ],
)
def test_dates_that_clients_will_refuse_are_told(pair: tuple[Path, Path], age: timedelta, word: str) -> None:
    assert word in str(tls.certificate_warning(pair[0], tls.utc_now() + age))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StartupError, match="cannot write"):
        tls.make_pair(tmp_path / "file" / "cert.pem", tmp_path / "file" / "key.pem", NAMES, tls.utc_now())
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_key_that_is_there_is_never_overwritten(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    kept = key.read_bytes()
    certificate.unlink()
    with pytest.raises(tls.KeyIsThere):
        tls.make_pair(certificate, key, NAMES, tls.utc_now())
    with pytest.raises(StartupError, match=r"cert\.pem is missing while"):
        tls.make_pair_if_missing(certificate, key, NAMES, tls.utc_now(), patience=0)
    assert (key.read_bytes(), certificate.exists()) == (kept, False)
    key.unlink()
    key.symlink_to("nowhere")
    with pytest.raises(StartupError, match="in the way"):
        tls.make_pair_if_missing(certificate, key, NAMES, tls.utc_now(), patience=0)


def test_of_many_first_starts_one_makes_the_pair_and_all_can_use_it(tmp_path: Path) -> None:
    for turn in range(8):
        certificate, key = tmp_path / str(turn) / "cert.pem", tmp_path / str(turn) / "key.pem"
        together = threading.Barrier(8)

        def start(certificate: Path = certificate, key: Path = key, together: threading.Barrier = together) -> bool:
            together.wait()
            made = tls.make_pair_if_missing(certificate, key, NAMES, tls.utc_now())
            tls.server_context(certificate, key)
            return made

        with ThreadPoolExecutor(8) as starts:
            assert sum(one.result() for one in [starts.submit(start) for _ in range(8)]) == 1
        assert {path.name for path in certificate.parent.iterdir()} == {"cert.pem", "key.pem"}


def test_the_names_of_this_machine_hold_what_clients_type(tmp_path: Path) -> None:
    names = tls.names_of_this_machine(settings_for(tmp_path, MINIMON_HOST="192.0.2.9"))
    assert {"localhost", "127.0.0.1", "::1", "192.0.2.9"} <= set(names)
    assert "0.0.0.0" not in tls.names_of_this_machine(settings_for(tmp_path, MINIMON_HOST="0.0.0.0"))
