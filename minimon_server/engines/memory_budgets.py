"""How many bytes of models may stay in memory where: what a person set, or what this machine has. Loads nothing."""

from __future__ import annotations

from typing import Final

from minimon_server.engines import system_memory
from minimon_server.engines.residency import DEVICE, HOST, Budgets, Tier
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_memory import MEBI, free_bytes
from minimon_server.logs import Logger

# What a GPU keeps for drawing when nobody sets a budget: SDXL at 1024 pixels with guidance, and its VAE in float32.
# An estimate, not yet measured on a GPU; what it misses, the ladder makes up for: idle models go first.
WORKING_BYTES: Final = 4 * 1024 * MEBI


def budgets_here(wish: Budgets, place: Place, log: Logger) -> dict[Tier, int]:
    """Return the bytes of each tier; where the CPU draws, models are on the device when they are in main memory.

    Unless set: of a GPU what is free now less `WORKING_BYTES`, of main memory half of what is free now, and nothing
    where the system does not tell.
    """
    host = wish.host
    if host is None:
        free = system_memory.free_bytes()
        if free is None:
            log.warning("one model is kept at a time", reason="this system does not tell how much memory is free")
        host = (free or 0) // 2
    if place.device.type == "cpu":
        if wish.gpu is not None:
            log.warning("setting without effect", setting="MINIMON_GPU_MODEL_MEGABYTES", reason="the CPU draws here")
        found: dict[Tier, int] = {DEVICE: host, HOST: 0}
    else:
        gpu = wish.gpu if wish.gpu is not None else max(0, (free_bytes(place) or 0) - WORKING_BYTES)
        found = {DEVICE: gpu, HOST: host}
    log.info("budgets of models", **{f"{tier}_mib": size // MEBI for tier, size in found.items()})
    return found
