"""The obvious LitServe program that draws in batches, as a peer to measure; owns no measuring.

One worker on the CPU, a PNG back for each prompt. Its arguments: folder and port.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import litserve
import torch
from starlette.responses import Response

from bench.job_wish import BATCH
from bench.peers.batched_pipeline import pictures
from tests import small_pipeline

FILL_SECONDS = 0.01


class Drawer(litserve.LitAPI):
    """Loads the pipeline once and draws whatever has gathered."""

    def __init__(self, folder: Path) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=FILL_SECONDS)
        self.folder = folder

    def setup(self, device: str) -> None:
        """Load the pipeline."""
        self.pipeline = small_pipeline.plainly_loaded(self.folder).to(torch.float32)  # whatever its files hold

    def predict(self, requests: list[dict[str, Any]]) -> list[bytes]:
        """Draw a batch."""
        return pictures(self.pipeline, requests)

    def encode_response(self, output: bytes) -> Response:
        """Answer with the picture itself."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(Drawer(Path(sys.argv[1])), accelerator="cpu", workers_per_device=1, timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
