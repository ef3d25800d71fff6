"""A call recorded as a CUDA graph and replayed; owns no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from bench.errors import BenchError

WARM_UP: Final = 3  # calls before the capture, which may allocate, choose kernels and compile


class Captured:
    """One call at the shapes of its examples. Its answer is overwritten by the next."""

    def __init__(self, call: Callable[..., Any], examples: tuple[torch.Tensor, ...]) -> None:
        """Record the call; raise `BenchError` without a CUDA device, and as torch does for what it cannot record."""
        if not examples[0].is_cuda:
            raise BenchError("CUDA graphs need a CUDA device")
        self._inputs = tuple(one.clone() for one in examples)
        # On a stream of its own, as torch asks for (torch.cuda.graph: "Partial-network capture").
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call] # as the library has it
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                call(*self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._answer = call(*self._inputs)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """Replay with these inputs."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._answer
