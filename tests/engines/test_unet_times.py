"""A step's time is one kind of number for compiled and captured UNets, whatever a scheduler holds it in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_graphs import times_of
from minimon_server.logs import Logger
from tests.engines.graph_scene import go_on, recorded, with_graphs
from tests.small_pipeline import unet

Asking = Callable[..., DrawRequest]


def test_the_unet_computes_the_same_bits_whatever_numbers_its_time_is_in() -> None:
    network, sample = unet().eval(), torch.randn(2, 4, 8, 8)
    words = torch.randn(2, 7, network.config.cross_attention_dim)
    pooled = network.config.projection_class_embeddings_input_dim - 6 * network.config.addition_time_embed_dim
    added = {"text_embeds": torch.randn(2, pooled), "time_ids": torch.ones(2, 6)}

    def answered(time: Any) -> torch.Tensor:
        found: torch.Tensor = network(sample, time, words, added_cond_kwargs=added, return_dict=False)[0]
        return found

    double = torch.tensor(261.7, dtype=torch.float64)
    with torch.inference_mode():
        for time in (torch.tensor(999), torch.tensor([1, 999]), torch.tensor(261.7), double, 999, 0.3):
            assert times_of(time, sample).dtype == torch.float32
            assert torch.equal(answered(times_of(time, sample)), answered(time)), time


def test_schedulers_of_whole_and_of_broken_times_share_a_graph(shelf: Path, request_for: Asking, quiet: Logger) -> None:
    engine = SdxlEngine(ModelFolders(shelf, quiet), "cpu", quiet, plan=with_graphs())
    plain = SdxlEngine(ModelFolders(shelf, quiet), "cpu", quiet)
    for scheduler in ("euler", "ddim", "euler", "dpmpp_2m"):
        asked = request_for(scheduler=scheduler)
        ours, theirs = engine.draw(asked, go_on).pictures[0], plain.draw(asked, go_on).pictures[0]
        assert ours.pixels == theirs.pixels, scheduler
    assert recorded(engine, "unet") == 1
    engine.close()
    plain.close()
