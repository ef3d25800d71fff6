"""What one adapter changes in one layer: LoRA, LoCon, LoHa, LoKr, DoRA, full, norms. Pure arithmetic in float32.

Every change is defined against the pristine weight W, and W + change is what the reference computes with: PEFT 0.21 for
`magnitude` (its DoRA), LyCORIS 4.1 (`apply_to`, as it trains) for all else. Factors of convolutions may come flat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

# The tensors of one layer, by what they are (`adapter_names.split`).
Factors = Mapping[str, torch.Tensor]


class BadAdapter(Exception):
    """Why an adapter cannot be applied, for people and without paths."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What PEFT's configuration says where no `alpha` lies beside the factors; rs-LoRA divides by the rank's root."""

    alpha: float | None = None
    rank_stabilised: bool = False


def weight_change(
    factors: Factors, pristine: torch.Tensor, weight: float, scaling: Scaling = Scaling()
) -> torch.Tensor | None:
    """Return what is added to `pristine`, a float32 tensor of its shape; None where only the bias is changed.

    DoRA with the magnitude m over each row (or each column, as `dora_scale` is shaped), V = W + change, n its norm:
    PEFT scales V of weight w by m / n; LyCORIS scales V of weight 1 by w (m / n - 1) + 1. At weight 1 they are one.
    Raise `BadAdapter` when the change is not of the layer's shape.
    """
    whole = _whole(factors)
    if whole is None:
        return None
    scaled = 1.0 if "diff" in factors or "w_norm" in factors else scale_of(factors, scaling)
    rows = pristine.shape[0]
    if whole.numel() != pristine.numel() or whole.shape[0] != rows:
        raise BadAdapter(f"it makes {list(whole.shape)} of a layer of {list(pristine.shape)} ({shapes_of(factors)})")
    change = whole.reshape(pristine.shape) * scaled
    if "magnitude" in factors:
        return _peft_dora(factors["magnitude"], pristine, change * weight)
    if "dora_scale" in factors:
        return _lycoris_dora(factors["dora_scale"], pristine, change, weight)
    return change * weight


def bias_change(factors: Factors, pristine: torch.Tensor, weight: float, scaling: Scaling) -> torch.Tensor | None:
    """Return what is added to a bias, float32 of its shape; None where the bias stays."""
    change = None
    for name in ("diff_b", "b_norm"):
        if name in factors:
            change = factors[name] * weight
    if "up_bias" in factors and "down" in factors:
        change = factors["up_bias"] * (weight * scale_of(factors, scaling))
    if change is not None and change.numel() != pristine.numel():
        raise BadAdapter(f"its bias has {change.numel()} numbers, the layer's {pristine.numel()}")
    return None if change is None else change.reshape(pristine.shape)


def scale_of(factors: Factors, scaling: Scaling) -> float:
    """Return by what a product of factors is multiplied: `scale`, or alpha / rank; 1 where there is no alpha, or 0."""
    if "scale" in factors:
        return float(factors["scale"])
    rank = rank_of(factors)
    alpha = float(factors["alpha"]) if "alpha" in factors else 0.0
    if alpha and rank:
        return alpha / rank
    if "alpha" not in factors and scaling.alpha is not None and rank:
        return scaling.alpha / (math.sqrt(rank) if scaling.rank_stabilised else rank)
    return 1.0


def extremes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the least and the greatest number of a tensor, [2], where it lies; both are finite where all numbers are.

    Both are NaN where any number is (torch.aminmax). On a CPU that takes a fiftieth of `isfinite` and `all` over the
    whole tensor, which were two fifths of a merge. Raise `RuntimeError` for a tensor of no numbers.
    """
    return torch.stack(torch.aminmax(tensor.detach()))


def rank_of(factors: Factors) -> int:
    """Return the rank of a factorisation; 0 where nothing is factorised, as a LoKr of two whole matrices."""
    for name in ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if name in factors:
            return int(factors[name].shape[0])
    return 0


def _whole(factors: Factors) -> torch.Tensor | None:
    """Return the change of a layer before it is scaled, [rows, ...]; None where there is none of the weight."""
    for name in ("diff", "w_norm"):
        if name in factors:
            return factors[name]
    if "down" in factors:
        up, down = _flat(factors["up"]), _flat(factors["down"])
        if "mid" in factors:
            return torch.einsum("m n ..., i m, n j -> i j ...", factors["mid"], up, down)
        return up @ down
    if "hada_w1_a" in factors:
        return _hadamard(factors, 1) * _hadamard(factors, 2)
    if "lokr_w1" in factors or "lokr_w1_a" in factors:
        return torch.kron(_kronecker(factors, 1), _kronecker(factors, 2))
    return None


def _hadamard(factors: Factors, number: int) -> torch.Tensor:
    rows, columns = factors[f"hada_w{number}_a"], factors[f"hada_w{number}_b"]
    core = factors.get(f"hada_t{number}")
    if core is None:
        return _flat(rows) @ _flat(columns)
    return torch.einsum("i j ..., i p, j r -> p r ...", core, rows, columns)


def _kronecker(factors: Factors, number: int) -> torch.Tensor:
    """Return one of the two matrices, flat: the columns of a kernel's window follow each other."""
    whole = factors.get(f"lokr_w{number}")
    if whole is not None:
        return _flat(whole)
    rows, columns = factors[f"lokr_w{number}_a"], factors[f"lokr_w{number}_b"]
    core = factors.get("lokr_t2") if number == 2 else None
    if core is None:
        return _flat(rows) @ _flat(columns)
    return _flat(torch.einsum("i j ..., i p, j r -> p r ...", core, rows, columns))


def _peft_dora(magnitude: torch.Tensor, pristine: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    rows = [pristine.shape[0], *([1] * (pristine.ndim - 1))]
    moved = pristine + change
    norm = _lengths(moved).reshape(rows)
    return moved * (magnitude.reshape(rows) / norm) - pristine


def _lycoris_dora(magnitude: torch.Tensor, pristine: torch.Tensor, change: torch.Tensor, weight: float) -> torch.Tensor:
    moved = pristine + change
    beyond = [1] * (pristine.ndim - 2)
    if magnitude.shape[0] == pristine.shape[0]:
        norm = _lengths(moved).reshape(-1, 1, *beyond)
    else:
        norm = _lengths(moved.transpose(0, 1)).reshape(1, -1, *beyond)
    if magnitude.numel() != norm.numel():
        raise BadAdapter(f"its dora_scale has {magnitude.numel()} numbers, the layer {norm.numel()}")
    scale = magnitude.reshape(norm.shape) / (norm + torch.finfo(torch.float32).eps)
    return moved * (weight * (scale - 1) + 1) - pristine


def _lengths(rows: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.linalg.vector_norm(_flat(rows), dim=1)
    return found


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(tensor.shape[0], -1)


def shapes_of(factors: Factors) -> str:
    """Return the shape of every tensor, for people."""
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(factors.items()))
