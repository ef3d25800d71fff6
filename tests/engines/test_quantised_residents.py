"""Two models that share a UNet, drawn by a plan: it is quantised once, and one's adapters are not the other's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.host_copies import moved, to_host
from minimon_server.engines.messages import DrawRequest
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, uses
from tests.engines.exhaustion import pipeline
from tests.engines.quantised_scene import engine_over, planned
from tests.engines.test_quantised_layers import quantised, same

pytest.importorskip("torchao")
Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def twins(shelf: Path, tmp_path: Path) -> Path:
    """Return a folder of two models of the same files, and their adapters."""
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "small", tmp_path / "twin")
    return tmp_path


def test_a_shared_unet_is_quantised_and_sliced_once(
    twins: Path, log: Logger, logged: Logged, request_for: Asking
) -> None:
    asked = [request_for(model="small"), request_for(model="twin", adapters=uses(lora=0.8)), request_for(model="small")]
    with closing(engine_over(twins, log, planned("int8", enable_slicing=True))) as engine:
        found = [drawn(engine, request).pixels for request in asked]
        assert pipeline(engine).vae.use_slicing
    assert len([line for line in logged() if line["event"] == "layers quantised"]) == 1
    assert found[0] == found[2] != found[1]
    for request, pixels in zip(asked[:2], found[:2], strict=True):
        with closing(engine_over(twins, log, planned("int8", enable_slicing=True))) as alone:
            assert drawn(alone, request).pixels == pixels


def test_a_quantised_network_goes_to_main_memory_as_it_is(twins: Path, log: Logger, request_for: Asking) -> None:
    with closing(engine_over(twins, log, planned("int8"))) as engine:
        first = drawn(engine, request_for()).pixels
        network = pipeline(engine).unet
        before = quantised(network)
        assert before
        with torch.inference_mode():
            to_host(network)
            moved(network, torch.device("cpu"), non_blocking=True)
        assert same(quantised(network), before)
        assert drawn(engine, request_for()).pixels == first
