"""The blocks of a network that are compiled, each kind once for all blocks of one shape. Decides no size.

SDXL's UNet has 70 transformer blocks of two shapes and 17 residual ones of 13: a graph for each shape is traced, and
its kernels written, in a fraction of what the whole network takes, and models of one architecture share them while the
process lives. The convolutions of residual blocks are in the graphs; between the blocks are single operations alone:
the first and the last convolution, those that halve and double, and the projections around transformer blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D

# What torch compiles with: one of its own by name, or a function of a graph and its inputs.
Backend = str | Callable[..., Any]
KINDS: Final[tuple[type[torch.nn.Module], ...]] = (BasicTransformerBlock, ResnetBlock2D)


class CompiledRegions:
    """Those of one network. For one thread."""

    def __init__(self, network: torch.nn.Module, mode: str | None, backend: Backend) -> None:
        """Take the place of each block's `forward`, which computes as it is written but in `in_effect`.

        `mode` is one of torch.compile's, for inductor alone.
        """
        self.is_on = False
        self.count = 0
        for module in network.modules():
            if isinstance(module, KINDS):
                kind: Any = type(module)
                vars(module)["forward"] = _Region(self, module, _compiled(kind, mode, backend))
                self.count += 1

    @contextmanager
    def in_effect(self) -> Iterator[None]:
        """Compute with what is compiled meanwhile, and compile what is not."""
        self.is_on = True
        try:
            yield
        finally:
            self.is_on = False


class _Region:
    """Stands for the `forward` of one block."""

    __slots__ = ("_compiled", "_module", "_regions", "_written")

    def __init__(self, regions: CompiledRegions, module: torch.nn.Module, compiled: Callable[..., Any]) -> None:
        self._regions, self._module, self._compiled, self._written = regions, module, compiled, module.forward

    def __call__(self, *positional: Any, **named: Any) -> Any:
        if self._regions.is_on:
            return self._compiled(self._module, *positional, **named)
        return self._written(*positional, **named)


@cache
def _compiled(kind: Any, mode: str | None, backend: Backend) -> Callable[..., Any]:
    """Return the `forward` of a class, compiled: weights are inputs of its graphs, which all its blocks share."""
    found: Callable[..., Any] = torch.compile(kind.forward, dynamic=False, fullgraph=True, mode=mode, backend=backend)
    return found
