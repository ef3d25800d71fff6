"""What holds for every test: collections pass over what was there before it."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Let collections pass over all that was imported and collected, as the server does: walking it takes 0.3 s."""
    gc.collect()
    gc.freeze()
