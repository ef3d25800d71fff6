"""What holds for every test: one thread to compute with, and collections that pass over what was there before it."""

from __future__ import annotations

import gc
import os

# Of torch, here and in every server that a test starts, before any of them imports it: such small models gain nothing
# by more, and threads that wait for each other take the processor from the files of tests that run beside.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """Let collections pass over all that was imported and collected, as the server does: walking it takes 0.3 s."""
    gc.collect()
    gc.freeze()
