"""What another model and another stack of LoRAs cost, beside what their bytes take, and beside diffusers.

Draws nothing: each figure ends where the first step would begin. What a step costs then is `step_costs`.
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
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.utils import logging as library_logging

from bench import step_costs
from bench.errors import BenchError
from bench.plan import Stage
from bench.report import Figure, Part, Row
from bench.switch_models import LORAS, MODELS, RANK, STACKS, adapted, build, lora, weights
from minimon_server.engines.messages import AdapterUse, DrawRequest, Progress
from minimon_server.engines.model_folders import NETWORKS, ModelFolders
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_prompts import encode
from minimon_server.logs import Lines, Logger, LogSink

OURS, LIBRARY, FLOOR = "ours", "diffusers", "floor: bytes over the rate"
CHANNELS: Final = (128, 256, 384)
LATENTS: Final = 32  # a side, of a step: long enough that what begins one is nothing beside it
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
        f"two LoRAs of rank {RANK} over all attention; {stage.plan.switch_rounds} rounds in turn after two that do "
        "not count, ratios are medians of those of the rounds. Cold: the files were put out of the system's cache; the "
        "floor reads them once. diffusers: from_pretrained.",
        "In memory: on a CPU no byte moves, so a switch's own floor is nothing; what it takes beyond the same model "
        "again is told by itself. The floor beside it copies the model's bytes once in memory, as a switch back to a "
        "GPU has to.",
        "Another stack: the floor reads and writes the changed weights once, and reads the LoRAs where they come from "
        "their files. diffusers: unload_lora_weights, load_lora_weights and set_adapters; where they were worn before, "
        "set_adapters alone among all that are loaded, whose every step then pays for them.",
        f"One step: one row of {LATENTS} x {LATENTS} latents, {step_costs.EVALUATIONS} evaluations of each in every "
        "round, by turns, of a UNet that never wore anything and of one with the stack; a ratio is that of their "
        "medians in one round. ms of the processor.",
    )
    return Part(rows, notes, contenders=(OURS, LIBRARY, FLOOR))


def _rows(folder: Path, rounds: int, log: Logger) -> Iterator[Row]:
    yield _cold(folder, rounds, log)
    kept = SdxlEngine(ModelFolders(folder, log), "cpu", log, budgets=Budgets(host=ROOM))
    yield from _warm(kept, rounds)
    bare = pipeline_of(kept, replace(REQUEST, model=MODELS[1])).unet
    library = _loaded(folder / MODELS[0])
    yield _prompt(pipeline_of(kept, REQUEST), library, rounds)
    yield from _stacks(kept, library, folder, rounds, log)
    worn = pipeline_of(kept, replace(REQUEST, adapters=_uses(STACKS[0]))).unet
    _worn_by_the_library(library, folder, STACKS[0])
    unets = {OURS: (bare, worn), LIBRARY: (_loaded(folder / MODELS[1]).unet, library.unet)}
    yield from step_costs.rows(unets, LATENTS, rounds)
    kept.close()


def pipeline_of(engine: SdxlEngine, request: DrawRequest) -> Any:
    """Return the pipeline that would draw a request, as it would."""
    ours(engine, request)
    assert engine._model is not None
    return engine._model.pipeline


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


def _warm(engine: SdxlEngine, rounds: int) -> Iterator[Row]:
    """Ask for the model that drew last, then for the other one, which the next round then begins with."""
    nets = [pipeline_of(engine, REQUEST).components[name] for name in NETWORKS]
    here = [one.detach() for net in nets for one in net.parameters()]
    there = [torch.empty_like(one) for one in here]
    took = _took(
        {
            "again": lambda turn: ours(engine, replace(REQUEST, model=MODELS[turn % 2])),
            "other": lambda turn: ours(engine, replace(REQUEST, model=MODELS[(turn + 1) % 2])),
            "copy": lambda _: _timed(lambda: [one.copy_(other) for one, other in zip(there, here, strict=True)]),
        },
        rounds,
    )
    again, other, copy = (Figure.of(took[name], 2) for name in ("again", "other", "copy"))
    beyond = Figure.of((one - two for one, two in zip(took["other"], took["again"], strict=True)), 2)
    yield Row("the same model again, ms", {OURS: again})
    yield Row("another model that is in memory, ms", {OURS: other, FLOOR: copy}, compared=True)
    yield Row("that beyond the same model again, ms", {OURS: beyond})


def _prompt(own: Any, library: Any, rounds: int) -> Row:
    """Encode another prompt in every round: what each request takes, whichever model it asks for."""

    @torch.inference_mode()
    def by_the_library(turn: int) -> None:
        library.encode_prompt(f"{REQUEST.prompt} {turn}", device="cpu", do_classifier_free_guidance=False)

    @torch.inference_mode()
    def by_us(turn: int) -> None:
        encode(own, f"{REQUEST.prompt} {turn}", None, None)

    calls = {
        OURS: lambda turn: _timed(lambda: by_us(turn)),
        LIBRARY: lambda turn: _timed(lambda: by_the_library(turn)),
    }
    return _row("of each of these: another prompt through both text encoders, ms", calls, rounds)


def _stacks(kept: SdxlEngine, library: Any, folder: Path, rounds: int, log: Logger) -> Iterator[Row]:
    """Wear two stacks by turns, the LoRAs read from their files, and then out of memory."""
    bare = SdxlEngine(ModelFolders(folder, log), "cpu", log, budgets=Budgets(host=0))  # it keeps no LoRA
    copied = [(module.weight.detach().clone(), module.weight.detach().clone()) for _, module in adapted(library.unet)]

    def written() -> None:
        for one, other in copied:
            one.copy_(other)

    def read(stack: tuple[str, ...]) -> None:
        for name in stack:
            lora(folder, name).read_bytes()
        written()

    anew = {
        OURS: lambda turn: ours(bare, replace(REQUEST, adapters=_uses(STACKS[turn % 2]))),
        LIBRARY: lambda turn: _timed(lambda: _worn_by_the_library(library, folder, STACKS[turn % 2])),
        FLOOR: lambda turn: _timed(lambda: read(STACKS[turn % 2])),
    }
    yield _row("another stack of two LoRAs, from their files, ms", anew, rounds)
    bare.close()
    _loaded_into(library, folder, LORAS)
    again = {
        OURS: lambda turn: ours(kept, replace(REQUEST, adapters=_uses(STACKS[turn % 2]))),
        LIBRARY: lambda turn: _timed(lambda: _set(library, STACKS[turn % 2])),
        FLOOR: lambda _: _timed(written),
    }
    yield _row("another stack of two LoRAs that were worn before, ms", again, rounds)


def _row(
    name: str,
    contenders: Mapping[str, Callable[[int], float]],
    rounds: int,
    before: Callable[[int], None] = lambda _: None,
) -> Row:
    took = _took(contenders, rounds, before)
    return Row(name, {contender: Figure.of(values, 2) for contender, values in took.items()}, compared=True)


def _took(
    contenders: Mapping[str, Callable[[int], float]], rounds: int, before: Callable[[int], None] = lambda _: None
) -> dict[str, list[float]]:
    """Return what each call took, round by round. Two do not count: in them both models, and both stacks, are new."""
    took: dict[str, list[float]] = {contender: [] for contender in contenders}
    for turn in range(-2, rounds):
        for contender, call in contenders.items():
            before(turn)
            spent = call(turn)
            if turn >= 0:
                took[contender].append(spent)
    return took


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
    _loaded_into(pipeline, folder, stack)
    _set(pipeline, stack)


def _loaded_into(pipeline: Any, folder: Path, names: tuple[str, ...]) -> None:
    pipeline.unload_lora_weights()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # of the second LoRA: it is meant
        for name in names:
            file = lora(folder, name)
            pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=name)


def _set(pipeline: Any, stack: tuple[str, ...]) -> None:
    pipeline.set_adapters(list(stack), adapter_weights=[0.7] * len(stack))
