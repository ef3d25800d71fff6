"""How many graphs and shapes are held, and when none is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from minimon_server.engines.captured_graphs import (
    ATTRIBUTE,
    MOST_SEEN,
    CapturedGraphs,
    Tensors,
    graphs_paused,
    recorded_by_calling,
)
from minimon_server.engines.sdxl_numbers import in_float32
from minimon_server.logs import Logger
from tests.engines.exhaustion import EXHAUSTED
from tests.engines.graph_scene import graphs_of, holding_pointers, layer

Logged = Callable[[], list[dict[str, Any]]]


def captures(logged: Logged) -> int:
    return sum(line["event"] == "graph captured" for line in logged())


def test_no_more_shapes_are_held_than_may_be_the_least_recently_used_goes_and_that_is_told_once(
    log: Logger, logged: Logged
) -> None:
    network = layer()
    graphs = graphs_of(network, log, most=2)

    def recorded_at(*counts: int) -> list[int]:
        at = []
        for count in counts:
            given, before = torch.randn(count, 6), captures(logged)
            assert torch.equal(graphs(given)[0], network(given))
            at += [count] * (captures(logged) - before)
        return at

    assert recorded_at(1, 1, 2, 2, 1, 3, 3) == [1, 2, 3]
    assert graphs.shapes == 2
    assert recorded_at(1, 3, 1, 3) == []  # the second went
    assert recorded_at(2, 2, 1) == [2]
    assert [line["most"] for line in logged() if "the least recently used go" in line["event"]] == [2]


def test_sizes_that_come_once_are_forgotten_and_a_call_that_failed_is_none(log: Logger) -> None:
    network, given = layer(), torch.randn(1, 6)
    graphs = graphs_of(network, log)
    with pytest.raises(RuntimeError):
        graphs(torch.randn(1, 5))
    graphs(given)
    for count in range(2, MOST_SEEN + 2):
        graphs(torch.zeros(count, 6))
    graphs(given)
    assert graphs.shapes == 0
    graphs(given)
    assert graphs.shapes == 1
    fails = [True]

    def call(one: torch.Tensor) -> Tensors:
        if fails:
            raise torch.OutOfMemoryError(EXHAUSTED)
        return (one + 1,)

    graphs = CapturedGraphs("layer", network, call, log, recorded_by_calling)
    with pytest.raises(torch.OutOfMemoryError):
        graphs(given)
    fails.clear()
    graphs(given)
    assert graphs.shapes == 0


class Narrow(torch.nn.Linear):
    """What can be asked again in 32 bits."""

    dtype = torch.bfloat16


def test_what_is_computed_again_in_32_bits_is_no_move_and_nothing_is_recorded_meanwhile(log: Logger) -> None:
    network, told = Narrow(6, 6).to(Narrow.dtype).requires_grad_(False), list[str]()
    graphs = graphs_of(network, log, holding_pointers(network), failed=told.append)
    setattr(network, ATTRIBUTE, graphs)
    for _ in range(10):
        given = torch.randn(2, 6)
        for _ in range(2):
            graphs(given.to(Narrow.dtype))
        assert graphs.shapes == 1
        with in_float32(network, []):
            graphs.look()
            for _ in range(3):
                assert torch.equal(graphs(given)[0], network(given))
            assert graphs.shapes == 0
        graphs.look()
    assert told == []


def test_a_pause_within_a_pause_ends_with_the_outer_one(log: Logger) -> None:
    network, given = layer(), torch.randn(2, 6)
    graphs = graphs_of(network, log)
    setattr(network, ATTRIBUTE, graphs)
    with graphs_paused(network):
        with graphs_paused(network):
            pass
        for _ in range(3):
            graphs(given)
        assert graphs.shapes == 0
    graphs(given)
    graphs(given)
    with graphs_paused(network):
        network.bias.data, held = network.bias.data.clone(), network.bias.data
        graphs.look()
        network.bias.data = held
    graphs.look()
    assert graphs.shapes == 1
