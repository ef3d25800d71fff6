"""Calls that are recorded and replayed: the same numbers, never somebody else's answer, and no weights of before.

On a CPU `recorded_by_calling` stands for the graph: real places in memory, really written over at each replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock

from minimon_server.engines.captured_graphs import (
    ATTRIBUTE,
    CapturedGraphs,
    Tensors,
    captured_of,
    recorded_by_calling,
    recorded_on_cuda,
)
from minimon_server.engines.compiled_unet import CompiledUnet, NoGraph
from minimon_server.engines.host_copies import to_host
from minimon_server.engines.messages import DrawRequest, Stopped
from minimon_server.engines.sdxl_graphs import CapturedUnet
from minimon_server.logs import Logger
from tests.engines.exhaustion import EXHAUSTED
from tests.engines.graph_scene import graphs_of, holding_pointers, layer
from tests.engines.quantised_scene import planned

Asking = Callable[..., DrawRequest]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]
RECORD = {"cpu": recorded_by_calling, "cuda": recorded_on_cuda}


@pytest.mark.parametrize("device", DEVICES)
def test_a_shape_is_called_first_then_recorded_and_an_answer_is_nobody_elses(device: str, log: Logger) -> None:
    network = layer(device)
    graphs = graphs_of(network, log, RECORD[device])
    given = [torch.randn(2, 6, device=device) for _ in range(4)]
    kept = [graphs(one) for one in given]
    assert graphs.shapes == 1
    for one, (found, more) in zip(given, kept, strict=True):
        assert torch.equal(found, network(one))
        assert torch.equal(more, one + 1)
    before = given[0].clone()
    with torch.inference_mode():
        kept[0][0].zero_()
    assert torch.equal(graphs(given[0])[0], network(before))
    for _ in range(2):
        assert torch.equal(graphs(given[0], times=3)[0], network(before) * 3)
        graphs(torch.randn(3, 6, device=device))
    assert graphs.shapes == 3


def test_weights_that_change_in_place_are_seen_and_weights_that_moved_drop_the_graphs(log: Logger) -> None:
    network, given = layer(), torch.randn(2, 6)
    graphs = graphs_of(network, log, holding_pointers(network))
    graphs(given)
    graphs(given)
    network.weight.mul_(2)  # as a merge writes
    graphs.look()
    assert graphs.shapes == 1
    assert torch.equal(graphs(given)[0], network(given))
    network.to(torch.float64)
    network.to(torch.float32)  # as what is no number in 16 bits is computed again, within a stage
    network.weight.mul_(2)
    assert torch.equal(graphs(given)[0], network(given))
    assert graphs.shapes == 0
    graphs(given)
    assert graphs.shapes == 1
    network.bias.data = network.bias.data.clone() + 1  # not the first weight: the look before a stage tells
    graphs.look()
    assert torch.equal(graphs(given)[0], network(given))


def test_weights_that_move_all_the_time_are_given_up_and_a_move_to_main_memory_drops_graphs(log: Logger) -> None:
    network, given = layer(), torch.randn(2, 6)
    told: list[str] = []
    graphs = graphs_of(network, log, holding_pointers(network), failed=told.append)
    setattr(network, ATTRIBUTE, graphs)
    for _ in range(2):
        graphs(given)
    to_host(network)
    assert graphs.shapes == 0
    for _ in range(10):
        for _ in range(3):
            assert torch.equal(graphs(given)[0], network(given))
        network.weight.data = network.weight.data.clone()
    assert told == ["its weights move too often"]
    assert graphs.shapes == 0


def test_what_cannot_be_recorded_is_computed_without_and_told_once(log: Logger) -> None:
    told: list[str] = []

    def record(*_: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    network, given = layer(), torch.randn(2, 6)
    graphs = graphs_of(network, log, record, failed=told.append)
    for _ in range(4):
        assert torch.equal(graphs(given)[0], network(given))
    assert told == ["RuntimeError: operation not permitted when stream is capturing"]


def test_a_shape_that_there_is_no_memory_for_is_no_reason_to_give_up_the_others(log: Logger) -> None:
    def record(call: Callable[..., Tensors], inputs: Tensors) -> Any:
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError(EXHAUSTED)
        return recorded_by_calling(call, inputs)

    network = layer()
    graphs = graphs_of(network, log, record)
    for count in (3, 3, 2, 2, 3, 2):
        given = torch.randn(count, 6)
        assert torch.equal(graphs(given)[0], network(given))
    assert graphs.shapes == 1


def test_who_stops_while_something_is_recorded_is_heard_and_recorded_the_next_time(log: Logger) -> None:
    stops = [True]

    def record(call: Callable[..., Tensors], inputs: Tensors) -> Any:
        if stops.pop() if stops else False:
            raise Stopped
        return recorded_by_calling(call, inputs)

    graphs, given = graphs_of(layer(), log, record), torch.randn(2, 6)
    graphs(given)
    with pytest.raises(Stopped):
        graphs(given)
    graphs(given)
    graphs(given)
    assert graphs.shapes == 1


class Small(torch.nn.Module):
    """What is asked as a UNet is."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.inner: Any = BasicTransformerBlock(8, 1, 8).requires_grad_(False)

    def forward(
        self, sample: Any, timestep: Any, encoder_hidden_states: Any, added_cond_kwargs: Any, return_dict: bool
    ) -> tuple[torch.Tensor]:
        more = encoder_hidden_states.mean() + added_cond_kwargs["text_embeds"].mean()
        return (self.inner(sample[None])[0] * timestep[:, None] + more + added_cond_kwargs["time_ids"].sum(),)


def evaluated(network: Any, rows: int, time: Any) -> torch.Tensor:
    sample = torch.linspace(-1, 1, 8 * rows).reshape(rows, 8)
    added = {"text_embeds": torch.full((rows, 3), 0.5), "time_ids": torch.ones(rows, 6)}
    asked = {"encoder_hidden_states": torch.ones(rows, 2), "added_cond_kwargs": added, "return_dict": False}
    with torch.inference_mode():
        found: torch.Tensor = network(sample, time, **asked)[0]
    return found


@pytest.mark.filterwarnings("default")  # what dynamo looks into warns of itself
def test_a_compiled_unet_is_captured_and_a_size_that_may_not_be_compiled_now_is_captured_later(log: Logger) -> None:
    network, plain = Small(), Small()
    compiled = CompiledUnet(network, planned(use_compile=True), "cpu", log, backend="aot_eager")
    stands = CapturedUnet(network)
    graphs = CapturedGraphs("unet", network, stands.compute, log, recorded_by_calling)
    setattr(network, ATTRIBUTE, graphs)
    network.forward = stands  # type: ignore[method-assign, assignment]
    for time in (3, torch.tensor(4), torch.full((2,), 5)):
        assert torch.allclose(evaluated(network, 2, time), evaluated(plain, 2, torch.as_tensor(time).expand(2)))
    assert (len(compiled.buckets), graphs.shapes) == (1, 1)
    assert stands.width(7) == 4
    compiled.only_known = True
    for _ in range(3):
        with pytest.raises(NoGraph):
            evaluated(network, 4, 3)
    compiled.only_known = False
    for _ in range(3):
        assert torch.allclose(evaluated(network, 4, 3), evaluated(plain, 4, torch.full((4,), 3)))
    assert len(compiled.buckets) == 2
    assert captured_of(network) is graphs
