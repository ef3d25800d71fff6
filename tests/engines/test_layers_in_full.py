"""Layers of a quantised UNet that LoRAs change: held in the model's own numbers while they are worn, then as before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from safetensors.torch import load_file, save_file
from torch._dynamo.utils import counters

from minimon_server.engines.captured_graphs import ATTRIBUTE, CapturedGraphs, recorded_by_calling
from minimon_server.engines.compiled_unet import CompiledUnet, NoGraph
from minimon_server.engines.host_copies import moved, to_host
from minimon_server.engines.memory_advice import savings
from minimon_server.engines.messages import DrawRequest, Progress, Stopped
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.quantised_layers import QuantisedLayers, quantised_of
from minimon_server.engines.quantised_weights import is_quantised
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_memory import parts_bytes
from minimon_server.engines.sdxl_numbers import in_float32
from minimon_server.logs import Logger
from tests.engines.adapter_scene import answer, drawn, noise, uses
from tests.engines.exhaustion import pipeline
from tests.engines.quantised_scene import engine_over, planned
from tests.engines.test_compiled_unet import compiled_over
from tests.engines.test_quantised_layers import quantised, same
from tests.small_pipeline import unet

pytest.importorskip("torchao")
Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]
CPU = torch.device("cpu")


def layers_of(network: Any) -> QuantisedLayers:
    found = quantised_of(network)
    assert found is not None
    return found


def plain(network: Any) -> dict[str, torch.Tensor]:
    """Return copies of all parameters that are not quantised."""
    named = network.named_parameters()
    return {name: value.detach().clone() for name, value in named if not is_quantised(value)}


@dataclass(frozen=True, slots=True)
class Scene:
    """A network that is quantised, and what came."""

    network: Any
    layers: QuantisedLayers
    came: dict[str, torch.Tensor]

    def hold_others(self, share: int = 1) -> None:
        """Let every so many-th layer hold other numbers, as a merge does."""
        with torch.inference_mode():  # as drawing does
            for name in list(self.came)[::share]:
                self.layers.write(name, self.came[name] * 1.5)

    def restore(self) -> None:
        """Let all layers hold what came, as when adapters are taken off."""
        with torch.inference_mode():
            for name in self.layers.in_full:
                self.layers.restore(name, self.came[name])


def scene(network: Any, log: Logger) -> Scene:
    """Quantise a network."""
    network.eval().requires_grad_(False)
    came = {name: value.detach() for name, value in network.named_parameters()}
    layers = QuantisedLayers(network, planned("int8").quantization.scheme, CPU, log)  # type: ignore[arg-type]
    return Scene(network, layers, {name: value for name, value in came.items() if layers.holds(name)})


class Attending(torch.nn.Module):
    """Takes what a UNet takes, has layers that are quantised, and is compiled in seconds."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.deep: Any = torch.nn.Module()
        self.deep.transformer_blocks = torch.nn.ModuleList([BasicTransformerBlock(32, 1, 32) for _ in range(2)])

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
        """Return a tuple, as a UNet does."""
        for block in self.deep.transformer_blocks:
            sample = block(sample)
        return (sample + encoder_hidden_states.sum(),)


@pytest.fixture(scope="module")
def partial(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the models, the adapters, and two that change some of the quantised layers each."""
    root = tmp_path_factory.mktemp("partial")
    shutil.copytree(shelf, root, dirs_exist_ok=True)
    whole = load_file(root / "loras" / "lora.safetensors")
    for name, part in (("selves", "_attn1_"), ("forward", "_ff_")):
        save_file({key: value for key, value in whole.items() if part in key}, root / "loras" / f"{name}.safetensors")
    return root


@pytest.mark.parametrize("name", ["int8", "fp8", "int4"])
def test_a_usual_lora_changes_every_layer_so_that_its_picture_is_that_of_the_model_in_full(
    name: str, shelf: Path, log: Logger, request_for: Asking
) -> None:
    asked = request_for(adapters=uses(lora=0.8, dora=0.5), steps=1)
    with closing(SdxlEngine(ModelFolders(shelf, log), "cpu", log)) as whole:
        right = drawn(whole, asked)
    with closing(engine_over(shelf, log, planned(name))) as engine:
        bare = drawn(engine, request_for(steps=1))
        network = pipeline(engine).unet
        before = quantised(network)
        worn = drawn(engine, asked)
        assert not quantised(network)
        assert worn.pixels == right.pixels
        assert drawn(engine, request_for(steps=1)).pixels == bare.pixels
        assert same(quantised(network), before)
        assert layers_of(network).bytes_in_full == 0
    assert worn.metadata["layers_in_full"] == 56
    assert not {"loras_rounded_to", "layers_in_full"} & {**bare.metadata, **right.metadata}.keys()
    assert "loras_rounded_to" not in worn.metadata


def test_layers_that_a_lora_leaves_stay_in_few_bits(
    partial: Path, log: Logger, request_for: Asking, logged: Logged
) -> None:
    stacks = [uses(selves=0.8), uses(forward=1.0), uses(forward=0.5, selves=0.5), ()]
    with closing(SdxlEngine(ModelFolders(partial, log), "cpu", log)) as whole:
        full = []
        for stack in stacks:
            drawn(whole, request_for(adapters=stack, steps=1))
            full.append(plain(pipeline(whole).unet))
    with closing(engine_over(partial, log, planned("int8"))) as engine:
        drawn(engine, request_for(steps=1))
        network = pipeline(engine).unet
        before, counts = quantised(network), []
        for stack, expected in zip(stacks, full, strict=True):
            told = drawn(engine, request_for(adapters=stack, steps=1)).metadata
            counts.append(told.get("layers_in_full"))
            assert all(torch.equal(value, expected[one]) for one, value in plain(network).items())
            now = quantised(network)
            assert same(now, {one: before[one] for one in now})
        assert counts == [28, 14, 42, None]
    lines = [line for line in logged() if line["event"] == "adapters merged"]
    assert [line.get("in_full") for line in lines if line["adapters"]][-3:] == [28, 14, 42]


def test_another_stack_of_the_same_layers_is_written_over_them(shelf: Path, log: Logger, request_for: Asking) -> None:
    with closing(engine_over(shelf, log, planned("int8"))) as engine:
        drawn(engine, request_for(adapters=uses(lora=0.8), steps=1))
        network = pipeline(engine).unet
        places = {name: (id(one), one.data_ptr()) for name, one in network.named_parameters()}
        drawn(engine, request_for(adapters=uses(lora=-0.5, dora=1.0), steps=1))
        assert {name: (id(one), one.data_ptr()) for name, one in network.named_parameters()} == places


def test_a_merge_that_is_cut_off_leaves_all_layers_in_few_bits(shelf: Path, log: Logger, request_for: Asking) -> None:
    with closing(engine_over(shelf, log, planned("int8"))) as engine:
        bare = drawn(engine, request_for(steps=1)).pixels
        network = pipeline(engine).unet
        before, seen = quantised(network), list[int]()

        def stop(progress: Progress) -> bool:
            seen.append(len(layers_of(network).in_full))
            return seen[-1] == 0

        with pytest.raises(Stopped):
            engine.draw(request_for(adapters=uses(lora=0.8), steps=1), stop)
        assert seen[-1] > 0
        assert same(quantised(network), before)
        assert drawn(engine, request_for(steps=1)).pixels == bare


def test_what_layers_in_full_take_is_counted_and_told(shelf: Path, log: Logger, request_for: Asking) -> None:
    def resident(engine: SdxlEngine) -> int:
        (told,) = engine._tally.resident
        return told.bytes

    with closing(engine_over(shelf, log, planned("int8"))) as engine:
        drawn(engine, request_for(steps=1))
        network, before = pipeline(engine).unet, resident(engine)
        few = parts_bytes([network])
        layers = layers_of(network)
        names = [name for name, _ in network.named_parameters() if layers.holds(name)]
        expected = layers.more_for(names)
        drawn(engine, request_for(adapters=uses(lora=0.8), steps=1))
        more = parts_bytes([network]) - few
        assert (layers.bytes_in_full, resident(engine) - before, expected) == (more, more, more)
        assert layers.more_for(names) == 0
        freed = savings(pipeline(engine), ("unet",), offloaded=False, on_card=False)
        assert freed == {"SDXL_QUANTIZE_LORAS=1": more}
        drawn(engine, request_for(steps=1))
        assert resident(engine) == before


def test_what_is_half_in_full_goes_to_32_bits_and_to_main_memory_and_back_as_it_was(log: Logger) -> None:
    half = scene(unet().to(torch.bfloat16), log)
    network = half.network
    half.hold_others(share=2)
    before, whole = quantised(network), plain(network)
    assert before
    with torch.inference_mode(), in_float32(network, []):
        assert {value.dtype for value in network.parameters()} == {torch.float32}
        assert answer(network).isfinite().all()
    with torch.inference_mode():
        to_host(network)
        moved(network, CPU, non_blocking=True)
    assert same(quantised(network), before)
    assert all(torch.equal(value, whole[name]) for name, value in plain(network).items())
    assert not any(one.is_inference() for one in network.parameters())


@pytest.mark.filterwarnings("default")  # what dynamo looks into warns of itself
def test_layers_in_full_have_graphs_of_their_own_which_all_stacks_of_those_layers_share(
    log: Logger, logged: Logged
) -> None:
    torch._dynamo.reset()
    counters.clear()
    both, heard, graphs = scene(Attending(), log), list[str](), list[int]()
    compiled = compiled_over(both.network, log)
    compiled.tell = lambda: heard.append("loading")

    def asked() -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = both.network(torch.ones(2, 16, 32), torch.tensor(3), torch.ones(2, 2))[0]
        graphs.append(counters["stats"]["unique_graphs"])
        return found

    bare = asked()
    for _ in range(2):
        both.hold_others()
        assert not torch.equal(asked(), bare)
        both.restore()
        assert torch.equal(asked(), bare)
    assert graphs == [1, 2, 2, 2, 2]
    assert heard == ["loading"] * 2
    assert not any("compiled again" in line["event"] for line in logged())
    lines = [line for line in logged() if line["event"] == "compiling the UNet"]
    assert [line.get("in_full") for line in lines] == [None, len(both.came)]
    compiled.only_known = True
    both.hold_others(share=2)
    with pytest.raises(NoGraph):
        asked()


@pytest.mark.filterwarnings("default")
def test_what_loras_change_takes_no_graphs_from_what_is_drawn_without(log: Logger, logged: Logged) -> None:
    torch._dynamo.reset()
    both = scene(Attending(), log)
    compiled = CompiledUnet(both.network, planned("int8", use_compile=True), "cpu", log, most=2, backend="eager")

    def asked(rows: int) -> None:
        with torch.inference_mode():
            both.network(torch.ones(rows, 16, 32), torch.tensor(3), torch.ones(rows, 2))

    for share in (1, 2, 3):
        both.hold_others(share)
        asked(1)
        both.restore()
    for rows in (1, 2, 3):
        asked(rows)
    assert [len(one[2]) for one in sorted(compiled.buckets, key=str)].count(0) == 2
    assert len(compiled.buckets) == 4
    lines = [line for line in logged() if line["event"] == "a size that no compiled graph serves"]
    assert [(line["graphs"], line.get("in_full", 0) > 0) for line in lines] == [(2, True), (2, False)]


def test_captured_graphs_are_let_go_of_once_layers_are_held_otherwise(log: Logger) -> None:
    held = scene(unet(), log)

    def call(sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return held.network(**{**noise(), "sample": sample}, return_dict=False)  # type: ignore[no-any-return]

    graphs = CapturedGraphs("unet", held.network, call, log, recorded_by_calling)
    setattr(held.network, ATTRIBUTE, graphs)
    changes: tuple[Callable[[], None], ...] = (lambda: held.hold_others(share=2), held.hold_others, held.restore)
    for change in changes:
        with torch.inference_mode():
            for _ in range(3):
                graphs(noise()["sample"])
        assert graphs.shapes == 1
        change()
        assert graphs.shapes == 0
