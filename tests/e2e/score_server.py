"""A real server that certifies: asked over plain HTTP, ended in every way, judged by what it left. Tests nothing."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.signed import read_signed
from minimon_server.scores.verify import verify
from tests.e2e.running import PATIENCE, RunningServer, clean_environment

LEDGER = "certified_scores.jsonl"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answered:
    """What came back: status, headers by small letters, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Asker:
    """One connection to one server, opened when it is needed. A connection that ends early raises `OSError`."""

    def __init__(self, port: int) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answered:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self._line.request(method, path, body, (JSON if body is not None else {}) | named)
            answer = self._line.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, told, answer.read())
        except http.client.HTTPException as error:
            self._line.close()
            raise ConnectionError(repr(error)) from error
        except OSError:
            self._line.close()
            raise

    def certify(self, subject: str = "player", score: str = "123.4", **headers: str) -> Answered:
        body = b'{"score":%b,"subject":"%b"}' % (score.encode(), subject.encode())
        return self.ask("POST", "/v1/certify-score", body, **headers)

    def close(self) -> None:
        self._line.close()


class ScoreServer(RunningServer):
    """Keys and ledger lie in its folder. `with` waits for /health; `begin` waits for nothing."""

    def __init__(self, cwd: Path, command: Sequence[str] | None = None, **environ: str) -> None:
        super().__init__(cwd, command, **{"MINIMON_RATE_LIMIT_PER_MIN": "0"} | environ)
        self.ledger = cwd / "data" / LEDGER
        self.asker = Asker(self.http_port)

    def begin(self) -> bool:
        """Start, and return whether it came to answer before it ended, whatever it then says about scores."""
        with self.log.open("wb") as out, self.errors.open("wb") as err:
            environ = clean_environment(self.environ)
            self.process = subprocess.Popen(self._command, cwd=self.cwd, env=environ, stdout=out, stderr=err)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return self.asker.ask("GET", "/health").status == 200
            except OSError:
                time.sleep(0.02)
        assert self.process.poll() is not None, "the server did not answer in time"
        return False

    def kill(self) -> None:
        """Kill -9, if it lives, and wait for its end."""
        self.asker.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)

    def beside(self, suffix: str) -> Path:
        return self.ledger.with_name(f"{LEDGER}.{suffix}")

    def reasons(self) -> str:
        """Return why /ready says no, once the ledger has been read; nothing when it says yes."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.asker.ask("GET", "/ready", Accept_Language="en")
            told = " ".join(answer.json["reasons"])
            if "is being read" not in told:
                assert (answer.status == 200) == (told == ""), answer
                return told
            assert time.monotonic() < deadline, told
            time.sleep(0.02)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text("ascii").splitlines()]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.asker.close()
        super().__exit__(kind, error, trace)


@dataclass
class Load:
    """Clients that certify as fast as they can until the server is gone; what was acknowledged, what was said else."""

    port: int
    clients: int = 8
    certified: list[bytes] = field(default_factory=list)
    refused: list[Answered] = field(default_factory=list)

    def _client(self, number: int, most: int) -> None:
        asker = Asker(self.port)
        try:
            for turn in range(most):
                answer = asker.certify(f"player {number}/{turn}")
                (self.certified if answer.status == 200 else self.refused).append(
                    answer.body if answer.status == 200 else answer  # type: ignore[arg-type]
                )
        except OSError:
            pass  # the server is gone: what it had not acknowledged is nobody's
        finally:
            asker.close()

    def __enter__(self) -> Self:
        return self.start()

    def start(self, most: int = 1_000_000) -> Self:
        self._threads = [threading.Thread(target=self._client, args=(one, most)) for one in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def wait_for(self, count: int) -> None:
        """Return when so many were acknowledged."""
        deadline = time.monotonic() + PATIENCE
        while len(self.certified) < count and any(thread.is_alive() for thread in self._threads):
            assert time.monotonic() < deadline, "too few were certified"
            time.sleep(0.002)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def __exit__(self, *_: object) -> None:
        self.wait()


def copy_of(template: Path, folder: Path) -> Path:
    """Return a new folder with the keys and the ledger of a template."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("certs", "data"):
        if (template / name).exists():
            shutil.copytree(template / name, folder / name)
    return folder


def make_template(folder: Path, certified: int = 0) -> list[bytes]:
    """Run a server once for its keys and so many records; return what it answered."""
    folder.mkdir(parents=True, exist_ok=True)
    with ScoreServer(folder) as server:
        return [acknowledged(server.asker.certify(f"before {number}")) for number in range(certified)]


def acknowledged(answer: Answered) -> bytes:
    assert answer.status == 200, answer
    return answer.body


def id_of(certified: bytes) -> str:
    return str(json.loads(certified)["signed"]["payload"]["id"])


def check_refusal(answer: Answered) -> None:
    """Whoever cannot certify says so in one way alone."""
    assert answer.status == 503, answer
    assert answer.json["code"] == "SIGNING_UNAVAILABLE", answer
    assert int(answer.headers["retry-after"]) > 0


def ring_of(asker: Asker) -> KeyRing:
    return KeyRing.from_jwks(asker.ask("GET", "/.well-known/jwks.json").json)


def check_nothing_lost(server: ScoreServer, certified: Sequence[bytes], *, every: int = 1, seen: int = 0) -> None:
    """Everything that was acknowledged is in the ledger as it was answered, and verifies; nothing there is half.

    All lines of the ledger are read and compared; signatures are verified past the first `seen` lines, and with
    `every`, only each so-manieth record is asked for over HTTP too.
    """
    lines = server.ledger.read_bytes().split(b"\n")
    assert lines.pop() == b"", "a partial line"
    ring = ring_of(server.asker)
    records: dict[str, Mapping[str, Any]] = {}
    issued = ""
    for number, line in enumerate(lines):
        record = json.loads(line)
        if number >= seen:
            assert verify(read_signed(json.dumps(record["signed"]).encode()), ring, record["keyId"]).valid, line
        payload = record["signed"]["payload"]
        assert payload["id"] not in records, "an id twice"
        assert payload["issuedAt"] >= issued, "time went backwards"
        records[payload["id"]], issued = {"bytes": line, **record}, payload["issuedAt"]
    for number, answer in enumerate(certified):
        score_id = id_of(answer)
        assert score_id in records, f"acknowledged and missing: {answer!r}"
        assert records[score_id]["bytes"].startswith(answer[:-1]), "not what was answered"
        if number % every == 0:
            assert server.asker.ask("GET", f"/v1/scores/{score_id}").body == answer
            verdict = server.asker.ask("POST", "/v1/verify-score", answer).json
            assert (verdict["valid"], verdict["recorded"]) == (True, True), verdict
