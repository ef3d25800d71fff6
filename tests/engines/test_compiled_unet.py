"""The blocks of a UNet compiled by dynamo: once a size and a shape, for all models, and never at a picture's cost."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch._dynamo.utils import counters

from minimon_server.engines.compiled_unet import NOT_QUANTISED, CompiledUnet
from minimon_server.engines.sdxl_loading import know_signatures
from minimon_server.logs import Logger
from tests.engines.adapter_scene import answer, noise
from tests.engines.quantised_scene import planned
from tests.small_pipeline import unet

Logged = Callable[[], list[dict[str, Any]]]


class Layer(torch.nn.Module):
    """Takes what a UNet takes, and is compiled in seconds."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block: Any = BasicTransformerBlock(8, 1, 8)

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
        """Return a tuple, as a UNet does."""
        times = torch.as_tensor(timestep).reshape(-1, 1)  # one for all rows, or one for each
        return (self.block(sample[None])[0] * times + encoder_hidden_states.sum(),)


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
    assert compiled.buckets == {((1, 8), (1, 2), NOT_QUANTISED), ((2, 8), (2, 2), NOT_QUANTISED)}
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
        assert torch.allclose(asked_of(network, 2, time), asked_of(plain, 2, time))
    with torch.inference_mode():
        network(torch.ones(8, 2).T, torch.tensor(4), encoder_hidden_states=torch.ones(2, 2).T)
    assert (counters["stats"]["unique_graphs"], len(compiled.buckets), heard) == (1, 1, ["loading"])


@pytest.mark.filterwarnings("default")
def test_sizes_of_several_models_are_all_compiled_and_torch_gives_up_before_none(log: Logger) -> None:
    with torch._dynamo.config.patch(recompile_limit=2, accumulated_recompile_limit=2):
        networks = [Layer(), Layer(), Layer()]
        made = [compiled_over(network, log, most=2) for network in networks]
        for rows in range(1, 7):
            asked_of(networks[rows % 3], rows)
        assert [len(one.buckets) for one in made] == [2, 2, 2]
        assert counters["stats"]["unique_graphs"] == 6


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
    network = Layer().eval()
    network.block = unet().down_blocks[1].attentions[0].transformer_blocks[0].eval()
    network.block.attn2 = None  # it has no words here
    know_signatures(network.block)
    tokens, words = torch.randn(16, 64), torch.zeros(1, 2)
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
    other.block.ff.net[2].weight.data.mul_(1.5)
    for one in (network, other):
        quantize_(one, Int8WeightOnlyConfig(set_inductor_config=False))
    compiled_over(network, log)
    before = asked_of(network, 1)
    with torch.inference_mode():
        network.block.ff.net[2].weight.copy_(other.block.ff.net[2].weight)
    after = asked_of(network, 1)
    assert not torch.allclose(after, before)
    assert torch.allclose(after, asked_of(other, 1), atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("default")
def test_what_cannot_be_compiled_is_drawn_as_it_is_written(log: Logger, logged: Logged) -> None:
    class Odd(BasicTransformerBlock):
        def forward(self, *given: Any, **named: Any) -> Any:
            if float(given[0].sum()) > 0:  # what no whole graph can hold
                return super().forward(*given, **named)
            return given[0]

    plan, network = planned(use_compile=True), Layer()
    network.block.__class__ = Odd
    CompiledUnet(network, plan, "cpu", log, backend="aot_eager")
    assert torch.equal(asked_of(network, 1), asked_of(Layer(), 1))
    assert (plan.compile.value, "compiling failed" in plan.compile.reason.en) == (False, True)
    assert [line["level"] for line in logged() if "cannot be compiled" in line["event"]] == ["error"]


@pytest.mark.filterwarnings("default")
def test_blocks_of_one_shape_share_a_graph_and_so_do_models_though_the_first_is_gone(log: Logger) -> None:
    """The blocks of the small UNet: seven that attend, of three shapes, and more that do not."""
    plain = unet().eval().requires_grad_(False)
    expected = answer(plain)
    made = 0
    for _ in range(2):
        network = copy.deepcopy(plain)
        compiled = compiled_over(network, log)
        assert torch.allclose(answer(network), expected, atol=1e-5)
        made = made or counters["stats"]["unique_graphs"]
        assert counters["stats"]["unique_graphs"] == made < compiled._regions.count
        assert compiled.buckets
        compiled._regions.is_on = False
        with torch.inference_mode():
            assert torch.equal(compiled._whole(**noise(), return_dict=False)[0], expected)
        del network, compiled
        gc.collect()
