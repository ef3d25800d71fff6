"""How many bytes of models may stay where: what was set, else what the machine has; what has no effect is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from minimon_server.engines import system_memory
from minimon_server.engines.host_copies import to_device, to_host
from minimon_server.engines.memory_budgets import WORKING_BYTES, budgets_here
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl_loading import Place
from minimon_server.logs import Logger

CPU = Place(torch.device("cpu"), torch.float32, "")
GPU = Place(torch.device("cuda"), torch.float16, "")
Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_memory, "free_bytes", lambda: 1000)
    monkeypatch.setattr("minimon_server.engines.memory_budgets.free_bytes", lambda _: WORKING_BYTES + 5000)


def test_what_is_set_counts(log: Logger, logged: Logged) -> None:
    assert budgets_here(Budgets(gpu=7, host=9), GPU, log) == {"device": 7, "host": 9}
    assert budgets_here(Budgets(host=0), CPU, log) == {"device": 0, "host": 0}
    assert not [line for line in logged() if line["level"] == "warning"]
    assert budgets_here(Budgets(gpu=7, host=9), CPU, log) == {"device": 9, "host": 0}
    (line,) = [line for line in logged() if line["level"] == "warning"]
    assert line["setting"] == "MINIMON_GPU_MODEL_MEGABYTES"


def test_what_is_not_set_follows_from_the_machine(log: Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    assert budgets_here(Budgets(), GPU, log) == {"device": 5000, "host": 500}
    assert budgets_here(Budgets(), CPU, log) == {"device": 500, "host": 0}
    monkeypatch.setattr("minimon_server.engines.memory_budgets.free_bytes", lambda _: 5)
    assert budgets_here(Budgets(), GPU, log)["device"] == 0


def test_a_system_that_tells_nothing_keeps_one_model_and_says_so(
    log: Logger, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_memory, "free_bytes", lambda: None)
    assert budgets_here(Budgets(), CPU, log) == {"device": 0, "host": 0}
    assert [line["event"] for line in logged()] == ["one model is kept at a time", "budgets of models"]


def test_a_copy_in_main_memory_is_the_same_to_the_last_bit_and_frees_what_was_before() -> None:
    """Tensors of every kind: of one number, of none, of other numbers, one that two layers share."""
    first, second = torch.nn.Linear(5, 5).half(), torch.nn.Linear(5, 5)
    second.weight = first.weight
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 70, 3), torch.nn.BatchNorm2d(70), first, second)
    network.register_buffer("nothing", torch.empty(0, 4))
    before = {name: (one.clone(), one.dtype, one.shape) for name, one in network.state_dict().items()}
    places = {name: one.data_ptr() for name, one in network.state_dict().items() if one.numel()}
    to_host(network)
    for name, one in network.state_dict().items():
        assert torch.equal(one, before[name][0])
        assert (one.dtype, one.shape) == before[name][1:]
        assert not one.numel() or one.data_ptr() != places[name]
    assert first.weight.data_ptr() == second.weight.data_ptr()
    assert not to_device(network, torch.device("cpu"))
