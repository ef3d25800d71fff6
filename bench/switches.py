"""What another model and another stack of LoRAs cost, beside what their bytes take, and beside diffusers.

Draws nothing that counts: each figure ends where the first step would begin.
"""

from __future__ import annotations

import gc
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.utils import logging as library_logging
from safetensors.torch import save_file

from bench.errors import BenchError
from bench.plan import Stage
from bench.report import Figure, Part, Row
from minimon_server.engines.messages import AdapterUse, DrawRequest, Progress
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Lines, Logger, LogSink
from tests import small_pipeline

OURS, LIBRARY, FLOOR = "ours", "diffusers", "floor: bytes over the rate"
CHANNELS: Final = (128, 256, 384)
RANK: Final = 8
MODELS: Final = ("one", "two")
STACKS: Final = (("ink", "neon"), ("neon", "glow"))
ROOM: Final = 8 * 2**30
REQUEST: Final = DrawRequest("one", "a red cat", "", (1,), 64, 64, 1, 1.0)


class Begun(Exception):
    """Everything is loaded, and the first step would come."""


def measure(stage: Stage) -> Part:
    """Build two models and three LoRAs, then switch by turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    library_logging.set_verbosity_error()  # it tells of every part that a LoRA does not change
    descriptor = os.open(os.devnull, os.O_WRONLY)
    sink = LogSink(descriptor)
    try:
        log = Lines(sink, level="ERROR", as_json=True, secrets=()).logger()
        build(stage.folder, CHANNELS)
        rows = tuple(_rows(stage.folder, stage.plan.switch_rounds, log))
        size = sum(file.stat().st_size for file in weights(stage.folder / MODELS[0])) / 2**20
    finally:
        torch.set_num_threads(threads)
        sink.close()
        os.close(descriptor)
    notes = (
        f"switches: ms until the first step would begin, one thread; models of {size:,.0f} MiB in float32, stacks of "
        f"two LoRAs of rank {RANK} over all attention; {stage.plan.switch_rounds} rounds in turn after one that does "
        "not count. Cold: the files were put out of the system's cache. Floors: the files read once; the changed "
        "weights read and written once. diffusers: from_pretrained; unload_lora_weights, load_lora_weights and "
        "set_adapters.",
    )
    return Part(rows, notes, contenders=(OURS, LIBRARY, FLOOR))


def build(folder: Path, channels: tuple[int, ...]) -> None:
    """Write the models and LoRAs; the UNets are as wide as `channels` say."""
    for seed, name in enumerate(MODELS):
        small_pipeline.build(folder / name, seed)
        settings = {**small_pipeline.unet().config, "block_out_channels": channels}
        unet: Any = UNet2DConditionModel.from_config(settings)
        unet.save_pretrained(folder / name / "unet")
    (folder / "loras").mkdir()
    for seed, name in enumerate(sorted({name for stack in STACKS for name in stack})):
        numbers, tensors = torch.Generator().manual_seed(seed), {}
        for layer, module in adapted(unet):
            rows, columns = module.weight.shape
            tensors[f"unet.{layer}.lora_A.weight"] = torch.randn(RANK, columns, generator=numbers) * 0.05
            tensors[f"unet.{layer}.lora_B.weight"] = torch.randn(rows, RANK, generator=numbers) * 0.05
        save_file(tensors, folder / "loras" / f"{name}.safetensors")


def adapted(unet: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers that the LoRAs change, by name."""
    ends = ("to_q", "to_k", "to_v", "to_out.0")
    yield from ((name, module) for name, module in unet.named_modules() if name.endswith(ends))


def weights(folder: Path) -> list[Path]:
    """Return the files of a model's weights."""
    return sorted(folder.glob("*/*.safetensors"))


def _rows(folder: Path, rounds: int, log: Logger) -> Iterator[Row]:
    yield _cold(folder, rounds, log)
    kept = SdxlEngine(ModelFolders(folder, log), "cpu", log, budgets=Budgets(host=ROOM))
    library = _loaded(folder / MODELS[0])
    copied = [(module.weight.detach().clone(), module.weight.detach().clone()) for _, module in adapted(library.unet)]
    again = {OURS: lambda _: ours(kept, REQUEST)}
    warm = {OURS: lambda turn: ours(kept, replace(REQUEST, model=MODELS[turn % 2]))}
    stacks = {
        OURS: lambda turn: ours(kept, replace(REQUEST, adapters=_uses(STACKS[turn % 2]))),
        LIBRARY: lambda turn: _timed(lambda: _worn_by_the_library(library, folder, STACKS[turn % 2])),
        FLOOR: lambda _: _timed(lambda: [one.copy_(other) for one, other in copied]),
    }
    ours(kept, REQUEST)
    yield _row("the same model again, ms", again, rounds)
    yield _row("another model that is in memory, ms", warm, rounds)
    yield _row("another stack of two LoRAs, ms", stacks, rounds)
    yield from _steps(kept, library, folder, rounds)
    kept.close()


def _cold(folder: Path, rounds: int, log: Logger) -> Row:
    """Load a model whose files lie on the disk alone: nobody has them mapped, and the system's cache holds them not."""
    engine = SdxlEngine(ModelFolders(folder, log), "cpu", log, budgets=Budgets(host=0))
    calls = {
        OURS: lambda turn: ours(engine, replace(REQUEST, model=MODELS[turn % 2])),
        LIBRARY: lambda turn: _timed(lambda: _loaded(folder / MODELS[turn % 2])),
        FLOOR: lambda turn: _timed(lambda: [file.read_bytes() for file in weights(folder / MODELS[turn % 2])]),
    }

    def forgotten(turn: int) -> None:
        engine.close()
        gc.collect()
        forget(weights(folder / MODELS[turn % 2]))

    row = _row("another model, cold, ms", calls, rounds, forgotten)
    engine.close()
    return row


def _row(
    name: str,
    contenders: Mapping[str, Callable[[int], float]],
    rounds: int,
    before: Callable[[int], None] = lambda _: None,
) -> Row:
    took: dict[str, list[float]] = {contender: [] for contender in contenders}
    for turn in range(rounds + 1):
        for contender, call in contenders.items():
            before(turn)
            spent = call(turn)
            if turn:
                took[contender].append(spent)
    return Row(name, {contender: Figure.of(values, 2) for contender, values in took.items()})


def _steps(engine: SdxlEngine, library: Any, folder: Path, rounds: int) -> Iterator[Row]:
    """Evaluate the UNet bare and with a stack of two: ours merged, the library's beside the weights."""
    for name, stack in (("bare", ()), ("with two LoRAs", STACKS[0])):
        ours(engine, replace(REQUEST, adapters=_uses(stack)))
        assert engine._model is not None
        unets = {OURS: engine._model.pipeline.unet, LIBRARY: library.unet}
        if stack:
            _worn_by_the_library(library, folder, STACKS[0])
        else:
            library.unload_lora_weights()
        calls = {who: lambda _, unet=unet: _timed(lambda: step(unet)) for who, unet in unets.items()}
        yield _row(f"one step, {name}, ms", calls, rounds)


@torch.inference_mode()
def step(unet: Any) -> torch.Tensor:
    """Return what a UNet makes of one row of fixed noise."""
    numbers = torch.Generator().manual_seed(0)
    conditions = {"text_embeds": torch.zeros(1, small_pipeline.PROJECTION), "time_ids": torch.ones(1, 6)}
    words = torch.randn(1, 77, sum(small_pipeline.WIDTHS), generator=numbers)
    noise = torch.randn(1, 4, 16, 16, generator=numbers)
    found: torch.Tensor = unet(noise, torch.tensor(500), words, added_cond_kwargs=conditions, return_dict=False)[0]
    return found


def ours(engine: SdxlEngine, request: DrawRequest) -> float:
    """Return the ms until the first step of a request would begin."""

    def report(said: Progress) -> bool:
        if said.phase == "drawing":
            raise Begun
        return True

    began = time.perf_counter()
    try:
        engine.draw(request, report)
    except Begun:
        return (time.perf_counter() - began) * 1e3
    raise BenchError("a picture was drawn without a first step")


def forget(files: list[Path]) -> None:
    """Put files out of the system's cache, as far as nobody has them mapped."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def _uses(stack: tuple[str, ...]) -> tuple[AdapterUse, ...]:
    return tuple(AdapterUse(name, 0.7) for name in stack)


def _loaded(folder: Path) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True)


def _worn_by_the_library(pipeline: Any, folder: Path, stack: tuple[str, ...]) -> None:
    pipeline.unload_lora_weights()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # of the second LoRA: it is meant
        for name in stack:
            pipeline.load_lora_weights(folder / "loras", weight_name=f"{name}.safetensors", adapter_name=name)
    pipeline.set_adapters(list(stack), adapter_weights=[0.7] * len(stack))
