"""Attention, slices and offloading, really in effect: on the CPU, with the libraries' own parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from diffusers.models.attention_processor import AttnProcessor2_0, SlicedAttnProcessor
from torch.nn.attention import SDPBackend

from bench.quantised import decibels
from minimon_server.engines.acceleration_plan import Chosen
from minimon_server.engines.acceleration_table import ATTENTION
from minimon_server.engines.attention_kernels import (
    BACKENDS,
    KernelAttention,
    ordered_kernels,
    sdpa_order,
    take_kernel,
    trial,
)
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_loading import Place, know_signatures
from minimon_server.errors import Text
from minimon_server.logs import Logger
from tests.engines.adapter_scene import answer, drawn
from tests.engines.exhaustion import pipeline
from tests.engines.quantised_scene import engine_over, planned
from tests.small_pipeline import unet

Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]
HERE = Place(torch.device("cpu"), torch.float32, "a test")
NATIVE = AttentionBackendName.NATIVE


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return what fills with the shape of each query that the library's dispatcher hands to torch's own kernel."""
    shapes: list[tuple[int, ...]] = []
    kernel = _AttentionBackendRegistry._backends[NATIVE]

    def counted(**told: Any) -> torch.Tensor:
        shapes.append(tuple(told["query"].shape))
        found: torch.Tensor = kernel(**told)
        return found

    monkeypatch.setitem(_AttentionBackendRegistry._backends, NATIVE, counted)
    return shapes


def test_a_kernel_serves_every_attention_of_the_unet(served: list[tuple[int, ...]]) -> None:
    network = unet().eval().requires_grad_(False)
    expected = answer(network)
    assert not served
    network.set_attn_processor(KernelAttention(NATIVE))
    know_signatures(network)
    assert torch.allclose(answer(network), expected, atol=1e-5)
    assert len(served) == len(network.attn_processors)
    assert {len(shape) for shape in served} == {4}


def test_what_a_kernel_does_not_take_goes_the_librarys_way(served: list[tuple[int, ...]]) -> None:
    attention = unet().down_blocks[1].attentions[0].transformer_blocks[0].attn1.eval()
    tokens = torch.randn(2, 16, 64)
    expected = attention(tokens)
    attention.set_processor(KernelAttention(AttentionBackendName.FLASH))  # takes 16-bit floats alone
    assert torch.equal(attention(tokens), expected)
    attention.set_processor(KernelAttention(NATIVE))
    masked = attention(tokens, attention_mask=torch.zeros(2, 1, 16))
    assert torch.allclose(masked, expected, atol=1e-5)
    assert not served
    attention(tokens)
    assert len(served) == 1


def test_a_kernel_that_fails_on_its_trial_gives_way_to_the_next(log: Logger, logged: Logged) -> None:
    plan, network = planned(), unet()
    plan.attention, plan.attention_left = Chosen("FlashAttention 2", Text("", "")), ATTENTION[2:]
    take_kernel(network, plan, HERE, log)
    assert plan.attention.value == "SDPA"
    assert "xFormers fails on its trial" in plan.attention.reason.en
    failed = [line for line in logged() if line["event"] == "an attention kernel fails on its trial"]
    assert [(line["kernel"], line["instead"]) for line in failed] == [
        ("FlashAttention 2", "xFormers"),
        ("xFormers", "SDPA"),
    ]
    assert all(type(one) is AttnProcessor2_0 for one in network.attn_processors.values())


def test_a_kernel_that_passes_its_trial_is_taken(
    log: Logger, monkeypatch: pytest.MonkeyPatch, served: list[tuple[int, ...]]
) -> None:
    monkeypatch.setitem(BACKENDS, "xFormers", NATIVE)  # a kernel that this machine has, under a name that it lacks
    plan, network = planned(), unet()
    plan.attention, plan.attention_left = Chosen("xFormers", Text("", "")), ATTENTION[3:]
    take_kernel(network, plan, HERE, log)
    assert plan.attention.value == "xFormers"
    served.clear()
    answer(network)
    assert len(served) == len(network.attn_processors)


def test_a_kernel_that_computes_something_else_fails_its_trial(log: Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = AttentionBackendName.XFORMERS
    monkeypatch.setitem(_AttentionBackendRegistry._backends, wrong, lambda **told: told["value"])
    plan, network = planned(), unet()
    plan.attention, plan.attention_left = Chosen("xFormers", Text("", "")), ATTENTION[3:]
    take_kernel(network, plan, HERE, log)
    assert plan.attention.value == "SDPA"
    assert "it is off by" in plan.attention.reason.en


@pytest.mark.filterwarnings("default")  # what dynamo looks into warns of itself
@pytest.mark.parametrize(("compiled", "taken"), [(True, "SDPA"), (False, "xFormers")])
def test_a_kernel_that_breaks_graphs_gives_way_where_blocks_are_compiled(
    compiled: bool, taken: str, log: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, breaks = _AttentionBackendRegistry._backends[NATIVE], AttentionBackendName.XFORMERS

    def broken(**told: Any) -> Any:
        torch._dynamo.graph_break()
        return kernel(**told)

    monkeypatch.setitem(_AttentionBackendRegistry._backends, breaks, broken)
    takes = _AttentionBackendRegistry._supported_arg_names[NATIVE]
    monkeypatch.setitem(_AttentionBackendRegistry._supported_arg_names, breaks, takes)
    plan = planned(use_compile=True) if compiled else planned()
    plan.attention, plan.attention_left = Chosen("xFormers", Text("", "")), ATTENTION[3:]
    take_kernel(unet(), plan, HERE, log)
    assert plan.attention.value == taken
    assert ("compiled, Unsupported: Call to `torch._dynamo.graph_break()`" in plan.attention.reason.en) is compiled


@pytest.mark.filterwarnings("default")
def test_a_kernel_that_graphs_hold_passes_its_trial_compiled() -> None:
    assert trial(NATIVE, HERE, compiled=True) is None


def test_torchs_own_kernels_have_an_order_by_card() -> None:
    cudnn, flash = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION
    assert sdpa_order((9, 0))[:2] == sdpa_order((10, 0))[:2] == [cudnn, flash]
    assert sdpa_order((8, 9))[:2] == sdpa_order((12, 0))[:2] == [flash, cudnn]
    assert sdpa_order((8, 0))[-1] == SDPBackend.MATH
    with ordered_kernels(HERE):
        assert sdpa_order((9, 0))


def test_slices_are_in_effect_and_change_next_to_nothing(models: Path, log: Logger, request_for: Asking) -> None:
    plain = drawn(SdxlEngine(ModelFolders(models, log), "cpu", log), request_for())
    engine = engine_over(models, log, planned(enable_slicing=True))
    assert decibels(plain, drawn(engine, request_for())) > 50
    held = pipeline(engine)
    assert {type(one) for one in held.unet.attn_processors.values()} == {SlicedAttnProcessor}
    assert held.vae.use_slicing


def test_offloading_by_a_setting_loads_into_main_memory(log: Logger, request_for: Asking) -> None:
    card = Place(torch.device("cuda"), torch.bfloat16, "a test")
    asked = Ladder(request_for(), card, log, MemoryTally(), rests=True)
    assert asked.offloaded
    assert asked.resting.device.type == "cpu"
    assert not asked.taken  # it is no rung: previews stay
    assert not Ladder(request_for(), card, log, MemoryTally()).offloaded
