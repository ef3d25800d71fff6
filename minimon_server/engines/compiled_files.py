"""Where torch and triton keep what they compile. Compiles nothing, imports neither."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

COMPILED: Final = "TORCHINDUCTOR_CACHE_DIR"  # where torch keeps what it compiled
TRITON: Final = "TRITON_CACHE_DIR"  # where triton does; torch says so late, and until then it is below the home folder


def place_compiled(folder: Path, environ: MutableMapping[str, str]) -> None:
    """Let both keep what they compile in a folder, unless the environment of the process names another one.

    Triton would begin in the home of whoever runs the process, who may have none.
    """
    kept = environ.setdefault(COMPILED, str(folder))
    environ.setdefault(TRITON, str(Path(kept) / "triton"))
