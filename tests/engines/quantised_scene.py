"""Engines over the small model whose weights are quantised by the real torchao, and how far their pictures are off."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy

from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Accelerations, Wishes
from minimon_server.engines.machine_facts import Machine
from minimon_server.engines.messages import DrawnPicture
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger

WITH_TORCHAO = Machine("cpu", packages={"torchao": "0.18.0"}, cxx_compiler="g++")


def planned(quantization: str = "none", **wished: Any) -> Accelerations:
    """Return what a CPU does of what a hand asks for."""
    return choose(Wishes(quantization, **wished, by_hand=frozenset({"quantization", *wished})), WITH_TORCHAO)


def engine_over(models: Path, log: Logger, plan: Accelerations) -> SdxlEngine:
    """Return an engine that draws by a plan."""
    return SdxlEngine(ModelFolders(models, log), "cpu", log, plan=plan)


def decibels(one: DrawnPicture, other: DrawnPicture) -> float:
    """Return the peak signal-to-noise ratio of two pictures in dB: 20 log10(255 / root of the mean squared error)."""
    ours, theirs = (numpy.frombuffer(picture.pixels, numpy.uint8).astype(numpy.float64) for picture in (one, other))
    error = float(((ours - theirs) ** 2).mean())
    return math.inf if error == 0 else 20 * math.log10(255 / math.sqrt(error))
