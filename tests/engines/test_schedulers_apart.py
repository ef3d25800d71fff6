"""What one drawing leaves to another, beside it or after it, with any scheduler: nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.sdxl import SdxlEngine
from tests.engines import every_scheduler
from tests.engines.adapter_scene import drawn

Asking = Callable[..., DrawRequest]


@pytest.mark.parametrize("name", every_scheduler.parameters())
def test_what_others_drew_meanwhile_is_forgotten(engine: SdxlEngine, request_for: Asking, name: str) -> None:
    request = request_for(scheduler=name)
    expected = drawn(engine, request).pixels
    drawn(engine, request_for(scheduler="dpmpp_2m_sde", seeds=(9,), width=96))
    assert drawn(engine, request).pixels == expected


@pytest.mark.parametrize("name", every_scheduler.parameters())
def test_a_seed_draws_the_same_in_a_batch(engine: SdxlEngine, request_for: Asking, name: str) -> None:
    alone = engine.draw(request_for(scheduler=name), lambda _: True).pictures[0]
    beside = engine.draw(request_for(scheduler=name, seeds=(3, 7)), lambda _: True).pictures[1]
    assert beside.pixels == alone.pixels


@pytest.mark.parametrize("name", ["dpm2_a", "dpmpp_2m_sde_karras", "dpmpp_3m_sde", "ddpm", "euler_a", "lcm"])
def test_noise_comes_from_the_seed_alone(engine: SdxlEngine, request_for: Asking, name: str) -> None:
    torch.manual_seed(1)
    one = drawn(engine, request_for(scheduler=name)).pixels
    torch.manual_seed(2)
    assert drawn(engine, request_for(scheduler=name)).pixels == one
