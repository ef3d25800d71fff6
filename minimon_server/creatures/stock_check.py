"""What `--check` says of the stock's folder: can it be read and written, and what would leave it. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from minimon_server.creatures.stock_files import StockFiles

SETTING: Final = "MINIMON_STOCK_DIR"
ALONE: Final = "the stock would be kept in memory alone, and lost at the end"


def told_of_folder(folder: Path, files: StockFiles) -> Sequence[str]:
    """Return lines for the operator, none where all is well; a stock that cannot be kept stops no start."""
    if not folder.exists():
        above = next(one for one in folder.parents if one.exists())
        if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
            return []
        return [f"WARNING: {SETTING}: {folder} cannot be made in {above}: {ALONE}."]
    if not folder.is_dir():
        return [f"WARNING: {SETTING}: {folder} is no folder: {ALONE}."]
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return [f"WARNING: {SETTING}: {folder} cannot be read and written: {ALONE}."]
    try:
        found, strange = files.look()
    except OSError as error:
        return [f"WARNING: {SETTING}: {folder} cannot be read ({error.strerror or error}): {ALONE}."]
    kept = sum(len(names) for names in found.values())
    lines = [f"{SETTING}: {kept} creatures are kept in {folder}."] if kept else []
    if strange:
        lines.append(
            f"WARNING: {SETTING}: the start will throw away {len(strange)} creatures, of another model, table, size "
            "or number of steps, or half written."
        )
    return lines
