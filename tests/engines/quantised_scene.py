"""Engines over the small model whose weights are quantised by the real torchao."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Accelerations, Wishes
from minimon_server.engines.machine_facts import Machine
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
