"""A call recorded as the engine records CUDA graphs, and replayed; owns no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.errors import BenchError
from minimon_server.engines.captured_graphs import recorded_on_cuda


class Captured:
    """One call at the shapes of its examples. Its answer is overwritten by the next."""

    def __init__(self, call: Callable[..., Any], examples: tuple[torch.Tensor, ...]) -> None:
        """Record the call; raise `BenchError` without a CUDA device, and as torch does for what it cannot record."""
        if not examples[0].is_cuda:
            raise BenchError("CUDA graphs need a CUDA device")
        self._inputs = tuple(one.clone() for one in examples)
        self._replay, self._answer = recorded_on_cuda(call, self._inputs)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """Replay with these inputs."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._replay()
        return self._answer
