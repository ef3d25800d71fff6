"""Weights that lie elsewhere are noticed, whatever moved them, and those that changed where they are are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from minimon_server.engines.quantised_layers import QuantisedLayers
from minimon_server.engines.quantised_weights import widened_layers
from minimon_server.engines.weight_places import WeightPlaces
from minimon_server.logs import Logger
from tests.engines.quantised_scene import planned
from tests.small_pipeline import unet


def deep() -> Any:
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sequential(torch.nn.BatchNorm1d(4)))
    return network.requires_grad_(False)


def cast_and_back(network: Any) -> None:
    network.to(torch.float64)
    network.to(torch.float32)


MOVES: dict[str, Callable[[Any], Any]] = {
    "data": lambda network: setattr(network[0].bias, "data", network[0].bias.clone()),
    "cast": cast_and_back,
    "another parameter": lambda network: setattr(network[0], "weight", torch.nn.Parameter(torch.ones(4, 4))),
    "no parameter": lambda network: setattr(network[0], "bias", None),
    "a buffer": lambda network: setattr(network[1][0], "running_mean", torch.ones(4)),
    "another layer": lambda network: network[1].__setitem__(0, torch.nn.BatchNorm1d(4)),
    "a layer less": lambda network: network.pop(1),
}


@pytest.mark.parametrize("how", MOVES)
def test_what_moved_is_noticed(how: str) -> None:
    network = deep()
    places = WeightPlaces(network)
    network[0].weight.mul_(2)
    assert not places.are_left()
    MOVES[how](network)
    assert places.are_left()
    assert not WeightPlaces(network).are_left()


def test_what_is_added_for_a_while_is_no_move() -> None:
    network = deep()
    places = WeightPlaces(network)
    network[0].add_module("beside", torch.nn.Linear(2, 2))
    assert not places.are_left()
    del network[0].beside
    assert not places.are_left()


def test_the_tensors_within_quantised_weights_are_looked_at(quiet: Logger) -> None:
    pytest.importorskip("torchao")
    network = unet().to(torch.bfloat16).eval().requires_grad_(False)
    scheme = planned("int8").quantization.scheme
    assert scheme is not None
    layers = QuantisedLayers(network, scheme, torch.device("cpu"), quiet, quantises_merged=True)
    places = WeightPlaces(network)
    name = next(name for name, _ in network.named_parameters() if layers.holds(name))
    layers.write(name, network.get_parameter(name).dequantize())
    assert not places.are_left()
    with widened_layers(network):
        assert places.are_left()
    assert not places.are_left()
    with torch.no_grad():
        network._apply(lambda one: one.clone())  # what a move is made of
    assert places.are_left()


def test_looking_walks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network = deep()
    places = WeightPlaces(network)

    def walked(*_: Any, **__: Any) -> Iterator[Any]:
        raise AssertionError("every stage would wait for it")

    for name in ("modules", "named_modules", "parameters", "buffers", "state_dict"):
        monkeypatch.setattr(torch.nn.Module, name, walked)
    assert not places.are_left()
