"""The optimizer of every network here: AdamW, or Muon for the matrices and AdamW for the rest.

Muon makes the step of a matrix orthogonal before taking it; a convolution's weights are taken as one matrix with a row
for each output channel. Its steps are scaled to the size of AdamW's, so that rate and decay mean the same to both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch

MOMENTUM: Final = 0.95
BETAS: Final = (0.9, 0.99)
DECAY: Final = 0.01
MakeOrthogonal = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]

# Of the polynomial that brings all singular values near 1 in five rounds.
ROUND: Final = (3.4445, -4.7750, 2.0315)
ROUNDS: Final = 5
# AdamW's usual step has about this root mean square.
STEP_SIZE: Final = 0.2
# Narrower than this, a matrix is no matter for Muon.
NARROWEST: Final = 8


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return the matrix with its singular values brought near 1."""
    first, second, third = ROUND
    wide = matrix.shape[0] <= matrix.shape[1]
    work = (matrix if wide else matrix.T).bfloat16()
    work = work / (work.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = work @ work.T
        work = first * work + (second * square + third * (square @ square)) @ work
    found: torch.Tensor = (work if wide else work.T).to(matrix.dtype)
    return found


def each_orthogonal(matrices: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return each matrix with its singular values brought near 1."""
    return [orthogonal(matrix) for matrix in matrices]


class Optimizer:
    """Steps over named parameters; its state can be saved and put back exactly."""

    def __init__(self, named: Iterable[tuple[str, torch.nn.Parameter]], muon: bool) -> None:
        parameters = list(named)
        self._matrices = [value for name, value in parameters if muon and _is_matrix(name, value)]
        self._momenta = [torch.zeros_like(value) for value in self._matrices]
        rest = [value for name, value in parameters if not (muon and _is_matrix(name, value))]
        self._rest = torch.optim.AdamW(rest, betas=BETAS, weight_decay=DECAY)

    @torch.no_grad()
    def step(self, rate: float, make_orthogonal: MakeOrthogonal = each_orthogonal) -> None:
        """Take one step with the gradients that are there, and forget them."""
        for group in self._rest.param_groups:
            group["lr"] = rate
        self._rest.step()
        self._rest.zero_grad(set_to_none=True)
        stepped, ahead = [], []
        for weight, momentum in zip(self._matrices, self._momenta, strict=True):
            if weight.grad is not None:
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                ahead.append(weight.grad.lerp(momentum, MOMENTUM).flatten(1))
                stepped.append(weight)
        for weight, found in zip(stepped, make_orthogonal(ahead), strict=True):
            size = STEP_SIZE * max(found.shape) ** 0.5
            weight.mul_(1 - rate * DECAY)
            weight.add_(found.view_as(weight), alpha=-rate * size)
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {"momenta": self._momenta, "rest": self._rest.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for own, saved in zip(self._momenta, state["momenta"], strict=True):
            own.copy_(saved)
        self._rest.load_state_dict(state["rest"])


def _is_matrix(name: str, value: torch.nn.Parameter) -> bool:
    embeds = "embedding" in name and "linear" not in name
    return value.ndim >= 2 and min(value.flatten(1).shape) >= NARROWEST and not embeds
