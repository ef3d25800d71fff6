"""The attention that the server would compute with on this machine, chosen, tried and taken as it does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Chosen, Wishes
from minimon_server.engines.attention_kernels import take_kernel
from minimon_server.engines.machine_facts import this_machine
from minimon_server.engines.sdxl_loading import Place, know_signatures
from minimon_server.environment import read_settings
from minimon_server.logs import Logger

ROOT: Final = Path(__file__).resolve().parents[2]
SWITCHES: Final = ("SDXL_USE_XFORMERS", "SDXL_USE_FLASH_ATTN")


def take_attention(unet: Any, compiled: bool, place: Place, environ: Mapping[str, str], log: Logger) -> Chosen:
    """Let a UNet compute its attention as the server's would, and return which kernel that is, and why.

    Of `environ` the `SWITCHES` count, as they do for the server; `compiled` says whether blocks are. Raises
    `StartupError` for a switch that is none.
    """
    switches = {name: environ[name] for name in SWITCHES if name in environ}
    settings = read_settings(switches, home=ROOT, here=ROOT)
    xformers, flash = settings.sdxl_use_xformers, settings.sdxl_use_flash_attn
    wishes = Wishes(use_compile=compiled, use_xformers=xformers, use_flash_attn=flash)
    plan = choose(wishes, this_machine("cpu" if place.device.type == "cpu" else "cuda"))
    know_signatures(unet)  # as whoever loads a pipeline does
    take_kernel(unet, plan, place, log)
    return plan.attention
