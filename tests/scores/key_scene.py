"""A folder of key files, as the tests of loading and of making keys need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from minimon_server.errors import StartupError
from minimon_server.scores.key_files import KeyFiles, load_signing_key
from minimon_server.scores.signing import SigningKey
from tests.scores.openssl import certificate_pem

# A little later than now: openssl dates a certificate from the second in which a test asks for it.
NOW = datetime.now(UTC) + timedelta(hours=1)


@dataclass
class Scene:
    """A folder of key files, and what was told about them."""

    files: KeyFiles
    told: list[str] = field(default_factory=list)

    def put_key(self, pem: bytes, mode: int = 0o600) -> None:
        self.files.key.parent.mkdir(exist_ok=True)
        self.files.key.write_bytes(pem)
        self.files.key.chmod(mode)

    def put_certificate(self, *extra: str, days: int = 365) -> None:
        self.files.certificate.write_bytes(certificate_pem(self.files.key, *extra, days=days))

    def load(self, passphrase: bytes | None = None, now: datetime = NOW) -> SigningKey:
        return load_signing_key(self.files, passphrase, now, self.told.append)

    def mistakes(self, passphrase: bytes | None = None, now: datetime = NOW) -> list[str]:
        with pytest.raises(StartupError) as caught:
            self.load(passphrase, now)
        assert caught.value.exit_status == 2
        assert not any("\n" in line for line in caught.value.lines)
        return list(caught.value.lines)
