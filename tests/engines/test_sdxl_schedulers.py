"""Every scheduler name draws what the library draws with the class and options that the name stands for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.schedulers import SCHEDULERS
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]

# As the library's own table of A1111's names has them (docs/source/en/api/schedulers/overview.md).
LIBRARY: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2m_sde_karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}


@pytest.fixture(scope="module")
def engine(models: Path, quiet: Logger) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    return plainly_loaded(models / "small")


def drawn(engine: SdxlEngine, request: DrawRequest) -> Any:
    (picture,) = engine.draw(request, lambda _: True).pictures
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)


def test_every_name_is_in_the_table() -> None:
    assert set(LIBRARY) == set(SCHEDULERS)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_name_draws_what_the_library_draws(engine: SdxlEngine, pipeline: Any, request_for: Asking, name: str) -> None:
    kind, options = LIBRARY[name]
    own = pipeline.scheduler
    pipeline.scheduler = getattr(diffusers, kind).from_config(own.config, **options)
    try:
        theirs = pipeline(
            "a red cat",
            negative_prompt="blurry",
            width=64,
            height=64,
            num_inference_steps=4,
            guidance_scale=5.0,
            generator=torch.Generator("cpu").manual_seed(7),
        ).images[0]
    finally:
        pipeline.scheduler = own
    request = request_for(scheduler=name, steps=4)
    assert np.array_equal(drawn(engine, request), np.asarray(theirs))
    assert np.array_equal(drawn(engine, request), np.asarray(theirs))


def test_a_name_means_the_same_whatever_the_model_comes_with(
    models: Path, tmp_path: Path, engine: SdxlEngine, request_for: Asking, quiet: Logger
) -> None:
    shutil.copytree(models / "small", tmp_path / "small")
    file = tmp_path / "small" / "scheduler" / "scheduler_config.json"
    settings = json.loads(file.read_bytes())
    file.write_text(json.dumps(settings | {"use_karras_sigmas": True}))
    other = SdxlEngine(ModelFolders(tmp_path, quiet), "cpu", quiet)
    assert np.array_equal(drawn(other, request_for(scheduler="euler")), drawn(engine, request_for(scheduler="euler")))
    own = drawn(other, request_for())
    assert np.array_equal(own, drawn(engine, request_for(scheduler="euler_karras")))
    assert not np.array_equal(own, drawn(engine, request_for()))
