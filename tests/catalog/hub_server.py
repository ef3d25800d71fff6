"""A real HTTP server that serves files as a hub does, and misbehaves in the ways that it is told to."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

COMMIT = "a" * 40


@dataclass(frozen=True)
class Fault:
    """What one answer does wrong: it is cut, stalls or trickles after `after` bytes, or is another answer altogether.

    `length` is added to the length that is said; None says none. `shift` moves the range that is sent.
    """

    after: int | None = None
    stall: bool = False
    trickle: bool = False
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    length: int | None = 0
    ignores_range: bool = False
    shift: int = 0


class Served(ThreadingHTTPServer):
    """Files by path; `faults` are taken one an answer, then all is well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.trees: dict[str, list[Any]] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.let_go = threading.Event()
        self.with_etags = True
        self.commit = COMMIT
        self.host = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.server_port}"

    def put(self, repository: str, files: Mapping[str, bytes]) -> None:
        """Serve a repository: its files, its list, its commit."""
        self.trees[repository] = [
            {"type": "directory", "oid": "b" * 40, "size": 0, "path": "unet"},
            *(_listed(path, data) for path, data in files.items()),
        ]
        for path, data in files.items():
            self.files[f"/{repository}/resolve/{self.commit}/{path}"] = data

    def ranges(self, path: str) -> list[str]:
        """Return the ranges that were asked for, of one file."""
        return [headers.get("range", "") for asked, headers in self.asked if asked == path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away in the middle, as they should."""


def _listed(path: str, data: bytes) -> dict[str, Any]:
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "oid": git, "size": len(data), "path": path}
    if path.endswith(".safetensors"):
        sha256 = hashlib.sha256(data).hexdigest()
        entry |= {"oid": "c" * 40, "lfs": {"oid": sha256, "size": len(data), "pointerSize": 135}}
    return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Served

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer one request."""
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
        faults = self.server.faults[path]
        fault = faults.pop(0) if faults else Fault()
        if path in self.server.redirects and not fault.status:
            self._send(302, b"", {"Location": self.server.redirects[path]})
        elif path.startswith("/api/models/"):
            self._api(path, fault)
        elif fault.status:
            self._send(fault.status, fault.body or b"", fault.headers)
        elif path in self.server.files:
            self._file(self.server.files[path], fault)
        else:
            self._send(404, b"no", {})

    def _api(self, path: str, fault: Fault) -> None:
        repository, _, rest = path.removeprefix("/api/models/").partition("/tree/")
        if fault.status or fault.body is not None:
            self._send(fault.status or 200, fault.body or b"", fault.headers)
        elif "/revision/" in path:
            self._send(200, orjson.dumps({"sha": self.server.commit}), {})
        elif repository in self.server.trees and rest in (COMMIT, self.server.commit):
            tree = self.server.trees[repository]
            half = len(tree) // 2
            if "cursor" in self.path:
                self._send(200, orjson.dumps(tree[half:]), {})
            else:
                further = f'<{self.server.url}{path}?recursive=true&cursor=x>; rel="next"'
                self._send(200, orjson.dumps(tree[:half]), {"Link": further})
        else:
            self._send(404, b"{}", {})

    def _file(self, data: bytes, fault: Fault) -> None:
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = dict(fault.headers)
        if self.server.with_etags:
            headers["ETag"] = etag
        asked = self.headers.get("Range", "")
        known = self.headers.get("If-Range", etag) == etag
        if not asked or fault.ignores_range or not known:
            self._send(200, fault.body if fault.body is not None else data, headers, fault)
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-")) + fault.shift
        if begin >= len(data):
            self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._send(206, data[begin:], headers, fault)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], fault: Fault | None = None) -> None:
        fault = fault or Fault()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault.length is None:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body) + fault.length))
        self.end_headers()
        self.wfile.write(body if fault.after is None else body[: fault.after])
        self.wfile.flush()
        if fault.stall:
            self.server.let_go.wait(60)
        if fault.trickle:
            for byte in body[fault.after : (fault.after or 0) + 200]:  # twenty seconds of one byte after the other
                self.server.let_go.wait(0.1)
                self.wfile.write(bytes([byte]))
        if fault.after is not None or fault.length:
            self.close_connection = True


@contextmanager
def serving() -> Iterator[Served]:
    """Serve until the block ends."""
    server = Served()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
