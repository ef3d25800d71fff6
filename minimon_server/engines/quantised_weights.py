"""Single weights of torchao: what they are made of, take and stand for. Quantises none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch


def is_quantised(weight: torch.Tensor) -> bool:
    """Return whether a weight is one of torchao's."""
    return type(weight).__module__.startswith("torchao.")


def inner(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the plain tensors that a quantised weight is made of, by their names."""
    names, _ = weight.__tensor_flatten__()  # type: ignore[attr-defined] # what every wrapping tensor has
    return {name: getattr(weight, name) for name in names}


def held_bytes(value: torch.Tensor) -> int:
    """Return what a tensor takes in memory, quantised or not."""
    return sum(one.nbytes for one in inner(value).values()) if is_quantised(value) else value.nbytes


@contextmanager
def widened_layers(network: torch.nn.Module) -> Iterator[None]:
    """Let quantised layers hold plain 32-bit floats of the same values: their scales do not follow `network.to`."""
    held: list[tuple[Any, Any]] = [
        (layer, layer.weight) for layer in network.modules() if is_quantised(getattr(layer, "weight", _NONE))
    ]
    try:
        for layer, weight in held:
            layer.weight = torch.nn.Parameter(_values(weight).float(), requires_grad=False)
        yield
    finally:
        for layer, weight in held:
            layer.weight = weight


def _values(weight: Any) -> torch.Tensor:
    """Return what a quantised weight stands for, in the numbers of its network."""
    if type(weight).dequantize is not torch.Tensor.dequantize:
        return weight.dequantize()  # type: ignore[no-any-return] # of a class of torchao's
    # Four bits as the kernel on CUDA wants them can only be multiplied (torchao 0.18, Int4TilePackedTo4dTensor). Each
    # sum has one addend that is not 0: nothing is rounded.
    ones = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    return torch.nn.functional.linear(ones, weight).T.contiguous()


_NONE: Final = torch.empty(0)
