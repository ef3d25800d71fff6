"""One row out of all that a UNet is told at once, and a UNet that is asked row by row. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable
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


def row_by_row(whole: Callable[..., Any]) -> Callable[..., tuple[torch.Tensor]]:
    """Return what calls `whole`, the `forward` of a network, for each row of its first argument, and joins the rows."""

    def called(sample: torch.Tensor, *arguments: Any, **named: Any) -> tuple[torch.Tensor]:
        rows = len(sample)
        told = {**named, "return_dict": False}
        found = [whole(*row_of((sample, *arguments), row, rows), **row_of(told, row, rows))[0] for row in range(rows)]
        return (torch.cat(found),)

    return called
