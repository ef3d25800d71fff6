"""What this machine has to draw with: an engine, models, LoRAs, put together. Decides nothing, and loads nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from minimon_server.catalog.stock import Stock
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.on_demand import NoEngine, make_engine, versions
from minimon_server.engines.schedulers import SCHEDULERS
from minimon_server.engines.trained_files import digests_here
from minimon_server.jobs.drawing import Drawing, nobody_draws
from minimon_server.logs import Logger
from minimon_server.settings import Settings


def find_drawing(settings: Settings, log: Logger) -> Drawing:
    """Return who draws prompts here, and with what; nothing that draws is imported before the first prompt."""
    folders = ModelFolders(settings.models_dir, log)
    stock = Stock(settings.models_dir, folders, log)
    try:
        engine = make_engine(folders, settings.device, log)
        weights = folders.fingerprint
        drawing = Drawing(stock.models, lambda: engine, SCHEDULERS, None, versions, weights, memory=engine.memory)
    except NoEngine as error:
        log.warning("prompts cannot be drawn", reason=error.text.en)
        drawing = replace(nobody_draws(error.text), models=stock.models)
    words = partial(digests_here, settings.models_dir / "embeddings")
    return replace(drawing, loras=stock.loras, facts=stock.facts, trained=words)
