"""Out of memory: the log says what was needed, what there is, and which settings would fit."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from minimon_server.engines.memory_advice import MEBI, advise, savings, smaller
from minimon_server.engines.model_folders import NETWORKS
from minimon_server.logs import Logger
from tests.small_pipeline import autoencoder, unet

Logged = Callable[[], list[dict[str, Any]]]


def a_pipeline() -> Any:
    """Return networks whose idle parts take 40 MiB, beside the small UNet."""
    idle = {part: torch.nn.Linear(2048, 5 * 256, bias=False) for part in NETWORKS if part != "unet"}
    return SimpleNamespace(unet=unet(), **idle)


def test_what_was_needed_what_there_is_and_what_would_fit(log: Logger, logged: Logged) -> None:
    made = a_pipeline()
    told: dict[str, Any] = {"offloaded": False, "on_card": True}
    freed = savings(made, ("unet",), **told)
    assert freed["SDXL_ENABLE_CPU_OFFLOAD=1"] == 3 * 10 * MEBI
    assert 0 < freed["SDXL_QUANTIZATION=int8"] < 10 * MEBI
    advise(log, made, ("unet",), (1024, 1024), needed=40 * MEBI, free=20 * MEBI, **told)
    advise(log, made, ("unet",), (1024, 512), needed=80 * MEBI, free=20 * MEBI, **told)
    advise(log, made, ("unet",), (512, 512), needed=0, free=20 * MEBI, **told)
    advise(log, None, (), (512, 512), needed=0, free=None, **told)
    lines = [line for line in logged() if line["event"] == "out of memory: settings that would fit"]
    assert [(line["needed_mib"], line["free_mib"]) for line in lines] == [(40, 20), (80, 20), (0, 20), (0, None)]
    assert lines[0]["settings"] == [
        "SDXL_ENABLE_CPU_OFFLOAD=1 (frees 30 MiB)",
        "SDXL_WIDTH=704 SDXL_HEIGHT=704, or that width and height in the request",
    ]
    assert lines[1]["settings"] == ["SDXL_WIDTH=512 SDXL_HEIGHT=256, or that width and height in the request"]
    assert [one.split(" ")[0] for one in lines[2]["settings"]] == list(freed)
    assert lines[3]["settings"] == ["a device with more memory"]


def test_what_is_done_already_is_not_advised() -> None:
    made = SimpleNamespace(unet=autoencoder(), vae=autoencoder())
    assert savings(made, ("unet",), offloaded=True, on_card=True) == {}
    assert set(savings(a_pipeline(), ("unet",), offloaded=False, on_card=False)) == {"SDXL_QUANTIZATION=int8"}
    assert smaller((64, 64), 0.01) == (64, 64)
