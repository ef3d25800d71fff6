"""What this machine has to draw with: an engine, models, LoRAs, put together. Decides nothing, and loads nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Literal

from minimon_server.catalog.ip_adapters import IpAdapters
from minimon_server.catalog.kept import KeptCatalogue
from minimon_server.catalog.single_files import said_in
from minimon_server.catalog.stock import CATALOGUE, Stock
from minimon_server.engines.acceleration_plan import USUAL_PIXELS, Wishes
from minimon_server.engines.checkpoint_files import Models
from minimon_server.engines.draft_decoder import find_draft_decoder
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.kept_hashes import KeptHashes
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.on_demand import NoEngine, make_engine, plan_here, versions_with
from minimon_server.engines.residency import Budgets
from minimon_server.engines.schedulers import SCHEDULERS
from minimon_server.engines.trained_files import digests_here
from minimon_server.engines.weight_files import hashes_here
from minimon_server.jobs.creature_drawing import folder_elsewhere
from minimon_server.jobs.drawing import Drawing, nobody_draws
from minimon_server.logs import Logger
from minimon_server.settings import Settings
from minimon_server.terminal import say


def find_drawing(settings: Settings, log: Logger) -> Drawing:
    """Return who draws prompts here, and with what; nothing that draws is imported before the first prompt."""
    folders = ModelFolders(settings.models_dir, log, folder_elsewhere(settings))
    kept = KeptCatalogue(settings.models_dir / CATALOGUE, log)
    models = Models(folders, said_in(kept), log)
    stock = Stock(settings.models_dir, folders, log, kept)
    ip_adapters = IpAdapters(settings.models_dir, kept, log)
    hashes = FileHashes(log, KeptHashes(settings.hashes_path, log))
    try:
        budgets = Budgets(_bytes(settings.gpu_model_megabytes), _bytes(settings.host_model_megabytes))
        draft = find_draft_decoder(settings.sdxl_draft_decoder)
        finds = stock.lora_file, hashes, ip_adapters.files
        engine = make_engine(models, settings.device, log, *finds, budgets, wishes_of(settings), draft)
        weights, versions = models.fingerprint, partial(versions_with, engine.plan)
        drawing = Drawing(stock.models, lambda: engine, SCHEDULERS, None, versions, weights, memory=engine.memory)
        drawing = replace(drawing, device=engine.here.told, choices=engine.plan.told, draft=draft)
    except NoEngine as error:
        log.warning("prompts cannot be drawn", reason=error.text.en)
        drawing = replace(nobody_draws(error.text), models=stock.models)
    words = partial(digests_here, settings.models_dir / "embeddings")
    memory, of_draft = drawing.memory, drawing.draft

    def digests(model: str, loras: Collection[str]) -> dict[str, str]:
        found = hashes_here(models, stock.lora_file, hashes, model, loras)
        draft_hash = hashes.of_all([of_draft.weights]) if of_draft else None
        return found | ({"draft_decoder": draft_hash} if draft_hash else {})

    def facts() -> dict[str, object]:
        return {**stock.facts(), "in_memory": memory.told, **({"draft_decoder": of_draft.name} if of_draft else {})}

    drawing = replace(drawing, loras=stock.loras, ip_adapters=ip_adapters.infos)
    return replace(drawing, facts=facts, trained=words, hashes=digests)


def _bytes(megabytes: int | Literal["auto"]) -> int | None:
    return None if megabytes == "auto" else megabytes << 20


def check_drawing(settings: Settings) -> None:
    """Raise `StartupError` where the start would: for what was asked for by hand and cannot be had here."""
    try:
        find_draft_decoder(settings.sdxl_draft_decoder)
        plan_here(settings.device, wishes_of(settings))
    except NoEngine as error:
        say(f"WARNING: {error.text.en}")


def wishes_of(settings: Settings) -> Wishes:
    """Return what the settings ask of the engine, and which of it somebody set."""
    drawn = settings.generation_backend == "sdxl"
    return Wishes(
        settings.sdxl_quantization,
        settings.sdxl_use_compile,
        settings.sdxl_use_xformers,
        settings.sdxl_use_flash_attn,
        settings.sdxl_enable_slicing,
        settings.sdxl_enable_cpu_offload,
        frozenset(name.removeprefix("sdxl_") for name in settings.model_fields_set),
        settings.sdxl_width * settings.sdxl_height if drawn else USUAL_PIXELS,
        settings.sdxl_use_cuda_graphs,
        settings.sdxl_quantize_loras,
    )
