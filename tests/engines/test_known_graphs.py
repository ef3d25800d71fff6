"""What is compiled stays so: a size that is known is compiled a second time by nothing that happens to its weights."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch._dynamo.utils import counters
from torch._inductor.exc import InductorError, LoweringException

from minimon_server.engines.acceleration_plan import Accelerations, Chosen
from minimon_server.engines.acceleration_table import SCHEMES
from minimon_server.engines.compiled_unet import CompiledUnet, NoGraph
from minimon_server.engines.host_copies import to_device, to_host
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_memory import is_out_of_memory
from minimon_server.engines.sdxl_numbers import in_float32
from minimon_server.errors import Text
from minimon_server.logs import Logger
from tests.engines.exhaustion import EXHAUSTED
from tests.engines.quantised_scene import planned
from tests.engines.test_compiled_unet import Layer, asked_of, compiled_over

Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]
pytestmark = pytest.mark.filterwarnings("default")  # what dynamo looks into warns of itself


class Narrow(Layer):
    """One in 16 bits."""

    dtype = torch.bfloat16

    def __init__(self) -> None:
        super().__init__()
        self.to(self.dtype).requires_grad_(False)


def narrow_answer(network: Any, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    with torch.inference_mode():
        words = torch.ones(2, 2, dtype=dtype)
        found: torch.Tensor = network(torch.ones(2, 8, dtype=dtype), torch.tensor(3), encoder_hidden_states=words)[0]
        return found


@pytest.fixture(autouse=True)
def _afresh() -> None:
    """Let no test find what another one compiled."""
    torch._dynamo.reset()
    counters.clear()


def test_a_picture_that_was_drawn_again_in_32_bits_costs_no_graph(log: Logger, logged: Logged) -> None:
    network = Narrow()
    compiled_over(network, log)
    before = narrow_answer(network)
    with torch.inference_mode(), in_float32(network, []):  # as drawing does
        assert narrow_answer(network, torch.float32).dtype == torch.float32
    assert torch.equal(narrow_answer(network), before)
    assert counters["stats"]["unique_graphs"] == 1
    assert not any("compiled again" in line["event"] for line in logged())


def test_a_model_that_was_put_out_while_another_one_drew_costs_no_graph(log: Logger) -> None:
    network = Narrow()
    compiled_over(network, log)
    before = narrow_answer(network)
    with torch.inference_mode():
        to_host(network)
        to_device(network, torch.device("cpu"))
    assert not any(one.is_inference() for one in network.parameters())
    assert torch.equal(narrow_answer(network), before)
    assert counters["stats"]["unique_graphs"] == 1


def test_a_known_size_that_torch_would_compile_again_is_told_and_not_between_the_steps_of_a_job(
    log: Logger, logged: Logged
) -> None:
    network, heard = Narrow(), list[str]()
    compiled = compiled_over(network, log)
    compiled.tell = lambda: heard.append("loading")
    before = narrow_answer(network)
    with torch.inference_mode():
        network.to(torch.float32).to(torch.bfloat16)  # what no part of the server does
    compiled.only_known = True
    with pytest.raises(NoGraph):
        narrow_answer(network)
    assert (counters["stats"]["unique_graphs"], heard) == (1, ["loading"])
    compiled.only_known = False
    for _ in range(2):
        assert torch.equal(narrow_answer(network), before)
    assert (counters["stats"]["unique_graphs"], heard) == (2, ["loading"] * 2)
    (line,) = [line for line in logged() if line["event"] == "a known size is compiled again"]
    assert "dispatch key" in line["problem"]


def test_memory_that_runs_out_while_torch_compiles_ends_no_compiling(log: Logger, logged: Logged) -> None:
    """Dynamo wraps what a backend raises; inductor what its own lowering raises, which wraps it, too."""
    fails = ["inductor", "dynamo"]

    def backend(graph: Any, _: Any) -> Any:
        if not fails:
            return graph.forward
        error = torch.OutOfMemoryError(EXHAUSTED)
        if fails.pop() == "dynamo":
            raise error
        try:
            raise error
        except torch.OutOfMemoryError:
            try:
                raise LoweringException(error, "addmm", [], {}) from None  # as torch._inductor.graph does
            except LoweringException as lowering:
                raise InductorError(lowering, None) from None

    network = Layer()
    plan = planned(use_compile=True)
    compiled = CompiledUnet(network, plan, "cpu", log, backend=backend)
    for wrapping in (BackendCompilerFailed, InductorError):
        with pytest.raises(wrapping) as caught:
            asked_of(network, 1)
        assert is_out_of_memory(caught.value)
    assert (plan.compile.value, compiled.buckets) == (True, frozenset())
    assert torch.equal(asked_of(network, 1), asked_of(Layer(), 1))
    assert compiled.buckets
    assert not any(line["level"] == "error" for line in logged())


def test_an_error_that_was_raised_after_memory_ran_out_is_not_taken_for_it() -> None:
    later = RuntimeError("something else")
    later.__context__ = torch.OutOfMemoryError(EXHAUSTED)
    assert not is_out_of_memory(later)
    assert not is_out_of_memory(InductorError(later, None))
    assert not is_out_of_memory(BackendCompilerFailed("eager", ValueError(), None))


def test_what_is_drawn_row_by_row_because_memory_ran_out_is_not_compiled(log: Logger, request_for: Asking) -> None:
    class Told(Layer):
        def forward(self, *given: Any, return_dict: bool = False, **named: Any) -> Any:
            return super().forward(*given, **named)

    network, plain, heard = Told(), Layer(), list[str]()
    compiled = compiled_over(network, log)
    asked_of(network, 2)
    compiled.tell = lambda: heard.append("loading")
    ladder = Ladder(request_for(), Place(torch.device("cpu"), torch.float32, ""), log, MemoryTally())
    ladder.stand_on(SimpleNamespace(unet=network), rests=False)
    ladder.rows, errors = 2, [torch.OutOfMemoryError(EXHAUSTED) for _ in range(2)]

    def work() -> torch.Tensor:
        found = asked_of(network, 2)
        if errors:
            raise errors.pop()
        return found

    found = ladder.run("drawing", work)
    assert ladder.taken == ["free", "slice"]
    assert torch.allclose(found, torch.cat([asked_of(plain, 1)] * 2), atol=1e-6)
    assert (counters["stats"]["unique_graphs"], heard) == (1, [])
    ladder.undo()
    assert network.forward is compiled
    asked_of(network, 1)
    assert (counters["stats"]["unique_graphs"], heard) == (2, ["loading"])


class Deep(Layer):
    """One that is asked for latents, and computes with all of them, as if halved twice."""

    config = SimpleNamespace(block_out_channels=(8, 8, 8))

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
        tokens = torch.nn.functional.avg_pool2d(sample, 4, ceil_mode=True).flatten(2).transpose(1, 2)
        return (self.block(tokens) * timestep,)


def dynamic(name: str) -> Accelerations:
    """Return a plan that compiles and rounds as a card does; no CPU gets one."""
    plan = planned(use_compile=True)
    scheme = next(one for one in SCHEMES if (one.name, one.way) == (name, "dynamic"))
    plan.quantization = Chosen(scheme.label, Text("", ""), scheme)
    return plan


@pytest.mark.parametrize(("name", "compiled_ones"), [("int8", [(2, 12, 12)]), ("fp8", [(2, 8, 8), (2, 12, 12)])])
def test_sizes_whose_products_are_too_small_for_compiled_int8_are_computed_without(
    name: str, compiled_ones: list[tuple[int, ...]], log: Logger, logged: Logged
) -> None:
    network = Deep()
    compiled = CompiledUnet(network, dynamic(name), "cpu", log, backend="eager")
    for rows, side in ((2, 8), (2, 12), (2, 8)):  # of 64 and of 96 pixels: 8 and 18 rows in the deepest blocks
        with torch.inference_mode():
            network(torch.ones(rows, 8, side, side), torch.tensor(1), torch.ones(rows, 2))
    assert sorted((one[0][0], *one[0][2:]) for one in compiled.buckets) == compiled_ones
    small = [line for line in logged() if "too small for compiled products" in line["event"]]
    assert [line["latents"] for line in small] == ([[2, 8, 8, 8]] if name == "int8" else [])


def test_that_dynamic_quantisation_loses_time_once_compiling_failed_is_told(log: Logger, logged: Logged) -> None:
    def fails(*_: Any) -> Any:
        raise ValueError("no")

    plan, network = dynamic("fp8"), Layer()
    CompiledUnet(network, plan, "cpu", log, backend=fails)
    asked_of(network, 1)
    assert plan.compile.value is False
    chosen = plan.told()["quantization"]
    assert (chosen.value, "SDXL_QUANTIZATION=none" in chosen.reason.en) == ("fp8 dynamic", True)
    assert [line["scheme"] for line in logged() if "dynamic quantisation" in line["event"]] == ["fp8 dynamic"]
