"""One row of guidance out of all that a UNet is told at once. Draws nothing."""

from __future__ import annotations

from typing import Any

import torch


def row_of(values: Any, row: int, rows: int) -> Any:
    """Return one row of every tensor that has so many, wherever it stands in `values`."""
    if isinstance(values, torch.Tensor):
        return values[row : row + 1] if values.ndim and len(values) == rows else values
    if isinstance(values, dict):
        return {name: row_of(value, row, rows) for name, value in values.items()}
    # The library tells of reference pictures in a list.
    return type(values)(row_of(value, row, rows) for value in values) if isinstance(values, tuple | list) else values
