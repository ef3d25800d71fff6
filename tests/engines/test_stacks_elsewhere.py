"""Adapters where the model is no folder, or memory is short: upon a single file, and on the rungs of the ladder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from minimon_server.engines.checkpoint_files import Models
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, lycoris_over, same, state_of, tensors_of, uses, write
from tests.engines.exhaustion import pipeline
from tests.engines.test_sdxl_ladder import exhausted
from tests.single_file import narrow_pipeline, save, single_file

Asking = Callable[..., DrawRequest]


def test_a_stack_upon_a_single_file_draws_what_it_draws_upon_its_twin(
    tmp_path: Path, log: Logger, request_for: Asking
) -> None:
    """The file in halves, as most are: its weights are cast when it is loaded, and come back from there."""
    torch.set_num_threads(1)
    loaded = narrow_pipeline().to(torch.float16)
    loaded.save_pretrained(tmp_path / "folder")
    save(single_file(loaded), tmp_path / "checkpoints" / "single.safetensors")
    unet = narrow_pipeline().unet
    for number, kind in enumerate(("lora", "lokr")):
        write(tmp_path / "loras" / f"{kind}.safetensors", tensors_of(lycoris_over(unet, number, 0.05, algo=kind)))
    engine = SdxlEngine(Models(ModelFolders(tmp_path, log), lambda _: None, log), "cpu", log)
    ask = request_for(model="folder", steps=1)
    asked = [ask, replace(ask, adapters=uses(lora=0.8, lokr=-0.5)), replace(ask, adapters=uses(lora=2.0))]
    folder = [drawn(engine, one).pixels for one in asked]
    assert len(set(folder)) == 3
    single = [drawn(engine, replace(one, model="single")).pixels for one in [*asked, asked[1], asked[0]]]
    assert single == [*folder, folder[1], folder[0]]
    engine.close()


def test_rungs_draw_with_the_stack_that_is_merged_and_leave_it(shelf: Path, log: Logger, request_for: Asking) -> None:
    engine = SdxlEngine(ModelFolders(shelf, log), "cpu", log)
    ask = request_for(adapters=uses(loha=1.0, full=0.5), steps=1)
    right = drawn(engine, ask)
    merged = state_of(pipeline(engine))
    with (
        exhausted(pipeline(engine).unet.mid_block, lambda hidden: len(hidden) > 1),
        exhausted(pipeline(engine).vae.decoder, lambda latents: latents.shape[-1] > 8),
    ):
        short = drawn(engine, ask)
    assert short.metadata["rungs"] == ["free", "slice", "tile"]
    assert same(state_of(pipeline(engine)), merged)
    assert engine.loaded == ask.stack
    assert drawn(engine, ask).pixels == right.pixels
