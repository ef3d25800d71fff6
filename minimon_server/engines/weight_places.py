"""Where the weights of a network lie, and whether they do still: asked without walking it again. Moves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


class WeightPlaces:
    """The places of all weights and buffers of a network when this was made, those within quantised weights included.

    What is looked into are the tables of its modules, each by its name: walking SDXL's UNet takes 30 ms, this half
    a millisecond (one core of the CPU). It holds the modules, but no tensor: what is replaced in them is freed.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        modules = list(network.modules())
        tables = [table for one in modules for table in (one._parameters, one._buffers)]
        self._children = [(one._modules, name, child) for one in modules for name, child in one._modules.items()]
        self._weights: list[tuple[dict[str, Any], str, Callable[[Any], Any] | None]] = [
            (table, name, _parts_of(weight)) for table in tables for name, weight in table.items() if weight is not None
        ]
        self._places = self._found()

    def are_left(self) -> bool:
        """Whether a weight is elsewhere now, or a module another one. What was added to the network is none of it."""
        if any(table.get(name) is not child for table, name, child in self._children):
            return True
        try:
            return self._found() != self._places
        except (AttributeError, KeyError, RuntimeError):  # gone, or of another kind, such as quantised or no more
            return True

    def _found(self) -> list[Any]:
        return [table[name].data_ptr() if parts is None else parts(table[name]) for table, name, parts in self._weights]


def _parts_of(weight: Any) -> Callable[[Any], tuple[int, ...]] | None:
    """Return what finds the places of the tensors that a weight is made of; None for a plain one."""
    if not is_traceable_wrapper_subclass(weight):
        return None
    parts = [attrgetter(path) for path in _paths(weight)]
    return lambda one: tuple(part(one).data_ptr() for part in parts)


def _paths(weight: Any) -> Iterator[str]:
    """Yield the names, with dots, of the plain tensors within one that is made of several."""
    for name in weight.__tensor_flatten__()[0]:
        inner = getattr(weight, name)
        if is_traceable_wrapper_subclass(inner):
            yield from (f"{name}.{path}" for path in _paths(inner))
        else:
            yield name
