"""Of what rank an adapter's factors are, and what their product takes on its way. Multiplies nothing.

torch lets a Tucker core have two ranks, and contracts it with one factor after the other: unchecked, a file
of 26 MB asks for 23 GB between a small layer and a small result. Trainers write one rank for a core and both of its
factors (LyCORIS 4.1: `LoConModule`, `LohaModule`, `LokrModule`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import torch

from minimon_server.engines.adapter_deltas import BadAdapter, shapes_of

# Whatever is beyond a layer's longer side adds nothing, but trainers give every layer of a network one rank.
USUAL_RANKS: Final = 4096
# A product of two factors, the core between them, and whether that has the rank of the first one in its rows.
_PRODUCTS: Final = (
    ("up", "down", "mid", False),
    ("hada_w1_a", "hada_w1_b", "hada_t1", True),
    ("hada_w2_a", "hada_w2_b", "hada_t2", True),
    ("lokr_w1_a", "lokr_w1_b", None, True),
    ("lokr_w2_a", "lokr_w2_b", "lokr_t2", True),
)
Tensors = Mapping[str, torch.Tensor]


def check_ranks(factors: Tensors, weight: torch.Size) -> None:
    """Raise `BadAdapter` where two factors and their core are not of one rank, or of one that no layer has use for.

    `weight` is the shape of the layer's, rows first.
    """
    most = max(weight[0], weight[1:].numel(), USUAL_RANKS)
    for ranks, _ in _products(factors):
        if len(ranks) > 1:
            raise BadAdapter(f"its tensors do not fit each other ({shapes_of(factors)})")
        if max(ranks) > most:
            raise BadAdapter(f"its rank is {max(ranks)}, of at most {most} for such a layer ({shapes_of(factors)})")


def numbers_beside(factors: Tensors) -> int:
    """Return how many numbers are there, at the least, beside a layer's weight and its change while that is made."""
    return sum(one.numel() for one in factors.values()) + max((most for _, most in _products(factors)), default=0)


def _products(factors: Tensors) -> Iterator[tuple[set[int], int]]:
    """Yield the ranks that the factors of each product have, and how many numbers a core and one factor make."""
    for rows_of, columns_of, core_of, is_turned in _PRODUCTS:
        if rows_of not in factors or columns_of not in factors:
            continue
        rows, columns = factors[rows_of], factors[columns_of]
        core = factors.get(core_of) if core_of else None
        if core is None:
            yield {_side(rows, 1), _side(columns, 0)}, 0
            continue
        rank = _side(rows, 0 if is_turned else 1)
        made = core.numel() // max(rank, 1) * (rows.numel() // max(rank, 1))
        yield {rank, _side(columns, 0), _side(core, 0), _side(core, 1)}, made


def _side(tensor: torch.Tensor, number: int) -> int:
    return tensor.shape[number] if tensor.ndim > number else 0
