"""The obvious LitServe program around the same pipeline, as a peer to measure; owns no measuring.

One worker on the CPU, settings as they are by default, a PNG back for each prompt. Its arguments: folder and port.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import litserve
from starlette.responses import Response

from bench.peers.raw_pipeline import picture
from tests import small_pipeline


class Drawer(litserve.LitAPI):
    """Loads the pipeline once and draws a request at a time."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def setup(self, device: str) -> None:
        """Load the pipeline."""
        self.pipeline = small_pipeline.plainly_loaded(self.folder)

    def predict(self, request: dict[str, Any]) -> bytes:
        """Draw one picture."""
        return picture(self.pipeline, request)

    def encode_response(self, output: bytes) -> Response:
        """Answer with the picture itself."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(Drawer(Path(sys.argv[1])), accelerator="cpu", workers_per_device=1, timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
