"""What is captured as graphs in tests: a layer, or an engine's networks; on a CPU, by what is really written over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.func import functional_call

from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Accelerations, Chosen, Wishes
from minimon_server.engines.captured_graphs import (
    CapturedGraphs,
    Record,
    Tensors,
    captured_of,
    recorded_by_calling,
)
from minimon_server.engines.machine_facts import Machine
from minimon_server.engines.messages import Progress
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.errors import Text
from minimon_server.logs import Logger
from tests.engines.exhaustion import pipeline


def go_on(_: Progress) -> bool:
    """Hear how far a drawing is, and let it go on."""
    return True


def with_graphs() -> Accelerations:
    """Return a plan that captures and does nothing else; on a CPU nobody else gets one."""
    plan = choose(Wishes(), Machine("cpu"))
    plan.graphs = Chosen(True, Text("", ""))
    return plan


def recorded(engine: SdxlEngine, part: str) -> int:
    """Return how many shapes a network of the loaded model has graphs for."""
    found = captured_of(getattr(pipeline(engine), part))
    assert found is not None
    return found.shapes


def layer(device: str = "cpu") -> torch.nn.Linear:
    """Return a network that is always the same one."""
    torch.manual_seed(1)
    return torch.nn.Linear(6, 6).to(device).requires_grad_(False)


def graphs_of(
    network: torch.nn.Module, log: Logger, record: Record = recorded_by_calling, **more: Any
) -> CapturedGraphs:
    """Return graphs of a layer, whose answer is two tensors."""

    def compute(given: torch.Tensor, *, times: int = 1) -> Tensors:
        return network(given) * times, given + 1

    return CapturedGraphs("layer", network, compute, log, record, **more)


def holding_pointers(network: torch.nn.Module) -> Record:
    """Return what records as CUDA does: with the weights' places of that time, whatever becomes of the network."""

    def record(call: Callable[..., Tensors], inputs: Tensors) -> tuple[Callable[[], object], Tensors]:
        held = {name: one.detach() for name, one in network.named_parameters()}
        answer = tuple(one.clone() for one in call(*inputs))

        def replay() -> None:
            answer[0].copy_(functional_call(network, held, inputs))

        return replay, answer

    return record
