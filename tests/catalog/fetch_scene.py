"""One file on a real server, and whoever fetches it into a folder."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

from minimon_server.catalog import fetching
from minimon_server.catalog.asking import Asker, Patience, Token
from minimon_server.catalog.fetching import Fetcher, Wanted
from minimon_server.catalog.progress import Shown
from tests.catalog.files import header
from tests.catalog.hub_server import Served

HEAD, SIZE = header({"x": (300, 1000)})
DATA = HEAD + bytes(range(256)) * (SIZE // 256) + b"\0" * (SIZE % 256)
SHA256 = hashlib.sha256(DATA).hexdigest()
WRONG = DATA[:-1] + b"!"
FILE = "/model.safetensors"


@dataclass
class Place:
    """A folder, a server, and who fetches from one into the other."""

    server: Served
    folder: Path
    waits: list[float] = field(default_factory=list)
    tokens: dict[str, Token] = field(default_factory=dict)
    said: io.StringIO = field(default_factory=io.StringIO)
    silence: float = 20.0
    tries: int = 4

    @property
    def path(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.server.url + FILE, "model.safetensors", len(DATA), SHA256)

    def fetch(self, wanted: Wanted | None = None) -> fetching.Fetched:
        shown = Shown(self.said)
        patience = Patience(silence=self.silence, tries=self.tries, pause=self.waits.append)
        asker = Asker(self.tokens, patience, shown.say)
        try:
            return Fetcher(asker, shown).fetch(wanted or self.wanted, self.path)
        finally:
            asker.close()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def whole(at: Place) -> None:
    assert at.path.read_bytes() == DATA
    assert at.names() == ["model.safetensors"]
