"""Gradients by several processes at once, on a CPU: each takes its share of a batch on one thread, and they meet once a
step. Decides nothing about the step.

Where other programs use the same cores, threads that meet in every operation wait for each other all the time; these
do not. The weights lie in shared memory; the sum is taken in a fixed order, so that the same step is the same numbers.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tools.tiny.optimizer import orthogonal

Figures = Mapping[str, float]


class Task(Protocol):
    """What is trained."""

    net: torch.nn.Module

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, Figures]:
        """Return what is to be lowered on one share of this step's batch, and figures for the log."""


class Crew:
    """Whoever computes the gradients of a task: this process alone, or together with others."""

    def __init__(self, make: Callable[[], Task], workers: int) -> None:
        """Make the task here, and again in each further process: `make` and what it holds travel there."""
        self.task = make()
        self._parameters = list(self.task.net.parameters())
        self._pipes: list[Connection] = []
        self._gradients: list[torch.Tensor] = []
        self._shares = max(1, workers)
        if self._shares == 1:
            return
        torch.set_num_threads(1)
        self.task.net.share_memory()
        weights = [value.detach() for value in self._parameters]
        context = torch.multiprocessing.get_context("spawn")
        for share in range(1, self._shares):
            ours, theirs = context.Pipe()
            gradient = torch.zeros(sum(weight.numel() for weight in weights))
            gradient.share_memory_()  # type: ignore[no-untyped-call]
            arguments = (make, weights, gradient, theirs, share, self._shares)
            context.Process(target=_work, args=arguments, daemon=True).start()
            theirs.close()  # or the end of that process would never be heard of
            self._pipes.append(ours)
            self._gradients.append(gradient)

    def gradients(self, step: int) -> Figures:
        """Leave the mean gradient of the step's batch in the parameters, and return the mean figures."""
        for pipe in self._pipes:
            pipe.send(step)
        told = [_one_share(self.task, step, 0, self._shares)]
        for pipe, gradient in zip(self._pipes, self._gradients, strict=True):
            told.append(_heard(pipe))
            for own, theirs in zip(self._parameters, _views(gradient, self._parameters), strict=True):
                if own.grad is not None:
                    own.grad += theirs
        if self._shares > 1:
            for own in self._parameters:
                if own.grad is not None:
                    own.grad /= self._shares
        return {name: sum(one[name] for one in told) / self._shares for name in told[0]}

    def orthogonal(self, matrices: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return each matrix made orthogonal; the others help, in the memory that they left their gradients in.

        That is a third of a step for one process, while the others would wait. Who does a matrix changes no bit of it.
        """
        shares = _even_shares(matrices, self._shares)
        lent = []
        for pipe, gradient, share in zip(self._pipes, self._gradients, shares[1:], strict=True):
            views = _views(gradient, share)
            for view, matrix in zip(views, share, strict=True):
                view.copy_(matrix)
            pipe.send([matrix.shape for matrix in share])
            lent.append(views)
        found = [orthogonal(matrix) for matrix in shares[0]]
        for pipe, views in zip(self._pipes, lent, strict=True):
            _heard(pipe)
            found += views
        return found

    def close(self) -> None:
        """Let the others go."""
        for pipe in self._pipes:
            pipe.send(None)
            pipe.close()
        self._pipes = []


def _heard(pipe: Connection) -> Figures:
    try:
        figures: Figures = pipe.recv()
    except EOFError:
        raise RuntimeError("A process of the training ended; its last words stand above.") from None
    return figures


def _one_share(task: Task, step: int, share: int, shares: int) -> Figures:
    task.net.train()
    # On a CPU, attention over a few dozen places is faster by plain products: a tenth of a step of the UNet.
    plain = sdpa_kernel(SDPBackend.MATH) if next(task.net.parameters()).device.type == "cpu" else nullcontext()
    with plain:
        loss, figures = task.loss(step, share, shares)
        loss.backward()  # type: ignore[no-untyped-call]
    return {"loss": loss.item(), **figures}


def _views(flat: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return _shaped(flat, [value.shape for value in like])


def _shaped(flat: torch.Tensor, shapes: Sequence[torch.Size]) -> list[torch.Tensor]:
    sizes = [shape.numel() for shape in shapes]
    parts = torch.split(flat[: sum(sizes)], sizes)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _even_shares(matrices: Sequence[torch.Tensor], count: int) -> list[Sequence[torch.Tensor]]:
    """Cut a row of matrices into `count` that take about as long, in their order."""
    costs = [matrix.numel() * min(matrix.shape) for matrix in matrices]
    whole, done, at = sum(costs), 0, 0
    ends = []
    for share in range(1, count):
        while at < len(matrices) and done < whole * share // count:
            done += costs[at]
            at += 1
        ends.append(at)
    return [matrices[start:end] for start, end in zip([0, *ends], [*ends, len(matrices)], strict=True)]


def _work(make: Callable[[], Task], weights: list[torch.Tensor], gradient: torch.Tensor, pipe: Any, share: int,
          shares: int) -> None:  # fmt: skip
    """Compute one share of every step, until there is none: the main process alone listens to signals."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    task = make()
    parameters = list(task.net.parameters())
    for own, shared in zip(parameters, weights, strict=True):
        own.data = shared
    views = _views(gradient, parameters)
    while True:
        try:
            asked = pipe.recv()
        except EOFError:  # the main process is gone
            return
        if asked is None:
            return
        if isinstance(asked, list):
            for matrix in _shaped(gradient, asked):
                matrix.copy_(orthogonal(matrix))
            pipe.send({})
            continue
        figures = _one_share(task, asked, share, shares)
        for own, view in zip(parameters, views, strict=True):
            if own.grad is None:
                view.zero_()
            else:
                view.copy_(own.grad)
                own.grad = None
        pipe.send(figures)


def cores() -> int:
    """Return how many workers suit this machine."""
    return max(1, min(4, multiprocessing.cpu_count()))
