"""Attention, slices, offloading and compilation, really in effect: on the CPU, with the libraries' own parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from diffusers.models.attention_processor import AttnProcessor2_0, SlicedAttnProcessor
from torch._dynamo.utils import counters
from torch.nn.attention import SDPBackend

from bench.quantised import decibels
from minimon_server.engines.acceleration_plan import Chosen
from minimon_server.engines.acceleration_table import ATTENTION
from minimon_server.engines.attention_kernels import BACKENDS, KernelAttention, ordered_kernels, sdpa_order, take_kernel
from minimon_server.engines.compiled_unet import CompiledUnet
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


class Layer(torch.nn.Module):
    """Takes what a UNet takes, and is compiled in seconds."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
        """Return a tuple, as a UNet does."""
        times = torch.as_tensor(timestep).reshape(-1, 1)  # one for all rows, or one for each
        return (self.linear(sample) * times + encoder_hidden_states.sum(),)


def asked_of(network: Any, rows: int, time: Any = 3) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = network(torch.ones(rows, 8), time, encoder_hidden_states=torch.ones(rows, 2))[0]
        return found


@pytest.fixture(autouse=True)
def _afresh() -> None:
    """Let no test find what another one compiled."""
    torch._dynamo.reset()
    counters.clear()


def compiled_over(network: Any, log: Logger, **told: Any) -> CompiledUnet:
    """Compile by dynamo, without the kernels that inductor would write: those take a minute each."""
    return CompiledUnet(network, planned(use_compile=True), "cpu", log, backend="aot_eager", **told)


@pytest.mark.filterwarnings("default")  # what dynamo looks into warns of itself
def test_each_size_is_compiled_once_and_what_no_graph_serves_is_told(log: Logger, logged: Logged) -> None:
    network, plain, heard = Layer(), Layer(), list[str]()
    compiled = compiled_over(network, log, most=2)
    compiled.tell = lambda: heard.append("loading")
    for rows in (1, 2, 1, 2, 3, 3):
        for time in (3, torch.tensor(4), torch.full((rows,), 5)):
            assert torch.allclose(asked_of(network, rows, time), asked_of(plain, rows, time))
    assert counters["stats"]["unique_graphs"] == 2
    assert compiled.buckets == {((1, 8), (1, 2)), ((2, 8), (2, 2))}
    assert heard == ["loading", "loading"]
    (line,) = [line for line in logged() if line["event"] == "a size that no compiled graph serves"]
    assert (line["latents"], line["graphs"]) == ([3, 8], 2)


@pytest.mark.filterwarnings("default")
def test_a_bucket_is_one_graph_whatever_numbers_its_time_and_order_its_strides_are_in(log: Logger) -> None:
    network, plain, heard = Layer(), Layer(), list[str]()
    compiled = compiled_over(network, log)
    compiled.tell = lambda: heard.append("loading")
    asked_of(network, 2, torch.tensor(4))
    compiled.only_known = True  # what would have to be compiled now would be compiled behind its back
    for time in (torch.tensor(4.0), torch.tensor(4.0, dtype=torch.float64), torch.tensor([3, 4]), 4, 4.5):
        assert torch.equal(asked_of(network, 2, time), asked_of(plain, 2, time).float())
    with torch.inference_mode():
        network(torch.ones(8, 2).T, torch.tensor(4), encoder_hidden_states=torch.ones(2, 2).T)
    assert (counters["stats"]["unique_graphs"], len(compiled.buckets), heard) == (1, 1, ["loading"])


@pytest.mark.filterwarnings("default")
def test_sizes_of_several_models_are_all_compiled_and_torch_gives_up_before_none(log: Logger) -> None:
    with torch._dynamo.config.patch(recompile_limit=8, accumulated_recompile_limit=8):
        networks = [Layer(), Layer(), Layer()]
        made = [compiled_over(network, log, most=6) for network in networks]
        for rows in range(1, 19):
            asked_of(networks[rows % 3], rows)
        assert [len(one.buckets) for one in made] == [6, 6, 6]
        assert counters["stats"]["unique_graphs"] == 18


@pytest.mark.filterwarnings("default")
def test_a_picture_is_not_lost_when_torch_makes_no_graph_more(log: Logger, logged: Logged) -> None:
    network = Layer()
    compiled = compiled_over(network, log)
    asked_of(network, 1)
    with torch._dynamo.config.patch(recompile_limit=1):
        # With gradients a guard fails: another graph, of a size that has one.
        (found,) = network(torch.ones(1, 8), 3, encoder_hidden_states=torch.ones(1, 2))
    assert torch.equal(found, asked_of(Layer(), 1))
    assert compiled.buckets
    (line,) = [line for line in logged() if "cannot be compiled" in line["event"]]
    assert "FailOnRecompileLimitHit" in line["problem"]


@pytest.mark.filterwarnings("default")
def test_the_unets_attention_is_one_graph_though_its_signatures_are_known(log: Logger) -> None:
    block = unet().down_blocks[1].attentions[0].transformer_blocks[0].attn1.eval()
    know_signatures(block)

    class Attention(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
            return (self.block(sample) + timestep * encoder_hidden_states.sum(),)

    tokens, words = torch.randn(1, 16, 64), torch.zeros(1, 2)
    network = Attention().eval()
    with torch.inference_mode():
        expected = network(tokens, torch.tensor(1), words)[0]
        compiled = compiled_over(network, log)
        assert torch.allclose(network(tokens, torch.tensor(1), words)[0], expected, atol=1e-5)
    assert compiled.buckets
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("default")
def test_a_graph_stays_when_weights_are_merged_and_quantised(log: Logger) -> None:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    network, other = Layer(), Layer()
    other.linear.weight.data.mul_(1.5)
    for one in (network, other):
        quantize_(one, Int8WeightOnlyConfig(set_inductor_config=False))
    compiled_over(network, log)
    before = asked_of(network, 1)
    with torch.inference_mode():
        network.linear.weight.copy_(other.linear.weight)
    after = asked_of(network, 1)
    assert not torch.allclose(after, before)
    assert torch.allclose(after, asked_of(other, 1), atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("default")
def test_what_cannot_be_compiled_is_drawn_as_it_is_written(log: Logger, logged: Logged) -> None:
    class Odd(Layer):
        def forward(self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
            if float(sample.sum()) > 0:  # what no whole graph can hold
                return super().forward(sample, timestep, encoder_hidden_states)
            return (sample,)

    plan, network = planned(use_compile=True), Odd()
    CompiledUnet(network, plan, "cpu", log, backend="aot_eager")
    assert torch.equal(asked_of(network, 1), asked_of(Layer(), 1))
    assert (plan.compile.value, "compiling failed" in plan.compile.reason.en) == (False, True)
    assert [line["level"] for line in logged() if "cannot be compiled" in line["event"]] == ["error"]
