"""A plain HTTP server of one folder's files, as a process of its own: `python -m bench.file_server FOLDER PORT`.

It measures nothing. Any path leads to the file of its last name, so that a hub's addresses do too.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "a" * 40
READY = "/ready"


class Files(ThreadingHTTPServer):
    """Serves the files of one folder on a port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: who looks whether the server is there goes away in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Files

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Say what there is, with what huggingface_hub wants to know first."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Send a file by the system's own copying: the server is not what is measured."""
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.server.folder / self.path.partition("?")[0].rpartition("/")[2]
        if not path.is_file():
            self.send_response(200 if self.path == READY else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("ETag", f'"{path.name}-{size}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body:
                self.connection.sendfile(file)


if __name__ == "__main__":
    Files(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
