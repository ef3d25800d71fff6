"""All tensors of a network and its numbers: as the library tells them, and where one of them alone lies elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from minimon_server.engines.host_copies import to_device
from minimon_server.engines.network_tensors import numbers_of, tensors_of
from tests import small_pipeline

NETWORKS = (small_pipeline.unet, small_pipeline.autoencoder, small_pipeline.draft_decoder)
META = torch.device("meta")


@pytest.mark.parametrize("build", NETWORKS)
def test_every_parameter_and_buffer_is_there_as_the_library_tells_them(build: Any) -> None:
    network = build()
    network.register_module("nothing", None)
    network.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    network.register_parameter("none", None)
    told = {id(one) for one in (*network.parameters(), *network.buffers())}
    assert len(told) > 40
    assert {id(one) for one in tensors_of(network)} == told


@pytest.mark.parametrize("numbers", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("build", NETWORKS)
def test_the_numbers_are_those_that_the_library_tells(build: Any, numbers: torch.dtype) -> None:
    network = build().to(numbers)
    assert numbers_of(network) == network.dtype == numbers


def test_whole_numbers_that_stand_first_are_passed_over() -> None:
    first = torch.nn.Linear(2, 2, bias=False)
    first.weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    network = torch.nn.Sequential(first, torch.nn.Linear(2, 2).half())
    assert numbers_of(network) == torch.float16


@pytest.mark.parametrize("kind", ["weight", "running_mean"])
def test_one_tensor_that_lies_elsewhere_is_found_and_brought(kind: str) -> None:
    last = torch.nn.BatchNorm1d(3)
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Sequential(torch.nn.Linear(3, 3), last))
    network.to(META)
    assert not to_device(network, META)
    here = torch.zeros(3)
    setattr(last, kind, torch.nn.Parameter(here) if kind == "weight" else here)
    assert to_device(network, META)
    assert getattr(last, kind).device == META
    assert not to_device(network, META)
