"""Who draws creatures: which model the settings mean, and from words to what its engine is told. Draws nothing."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from minimon_server.catalog.kept import read_bounded
from minimon_server.catalog.reading import LARGEST, CatalogMistakes, read_catalogue
from minimon_server.catalog.stock import CATALOGUE
from minimon_server.creatures.drawn import DrawnCreatures
from minimon_server.creatures.naming import NameSource
from minimon_server.creatures.prompts import Wording, load_prompts
from minimon_server.creatures.rarity import RarityTable
from minimon_server.engines.checkpoint_files import CHECKPOINTS
from minimon_server.engines.messages import DrawnPicture, DrawRequest
from minimon_server.errors import InvalidRequest, StartupError
from minimon_server.jobs.drawing import Asked, Drawing, ModelInfo, request_for
from minimon_server.jobs.interactive import Interactive
from minimon_server.logs import Logger
from minimon_server.settings import Settings

SETTING: Final = "SDXL_TURBO_MODEL"


class CreaturePainter:
    """A `Painter` over the interactive queue."""

    def __init__(
        self,
        settings: Settings,
        model: ModelInfo,
        drawing: Drawing,
        queue: Interactive,
        words: str = "",
        more_steps: int = 0,
    ) -> None:
        """`words` tells one table of words from another, whose rarest has so many `more_steps`. Raise `StartupError`
        when the model cannot draw what the settings ask for.
        """
        self.model = model
        self._words = words
        # The default is SDXL Turbo's: another model is drawn in its own steps, unless somebody has said otherwise.
        self.steps = settings.sdxl_steps if "sdxl_steps" in settings.model_fields_set else model.steps
        self.queue = queue
        self._size = settings.sdxl_width, settings.sdxl_height
        self._drawing = drawing
        try:
            self.request(Wording("a creature", "", more_steps), 0)
        except InvalidRequest as error:
            told = "; ".join(f"{one.field}: {one.message.en}" for one in error.fields)
            raise StartupError(
                [f"{SETTING}={model.id} cannot draw what SDXL_WIDTH, SDXL_HEIGHT and SDXL_STEPS ask: {told}"]
            ) from None

    def maker(self) -> str:
        """Return what tells pictures of this painter from those of another one; reads samples of the weights."""
        parts = [self._words, self.model.id, self._drawing.fingerprint(self.model.id), self.steps, *self._size]
        return sha256(repr([*parts, self.model.guidance_scale, self.model.scheduler]).encode()).hexdigest()

    async def draw(self, wording: Wording, seed: int, *, ahead: bool = False, exact: bool = True) -> DrawnPicture:
        """Return one picture, see `Interactive.draw`; one that need not be exact may be part of a batch."""
        return await self.queue.draw(replace(self.request(wording, seed), exact=exact), ahead=ahead)

    def request(self, wording: Wording, seed: int) -> DrawRequest:
        """Return what the engine is told of a creature's words."""
        width, height = self._size
        model = self.model
        asked = Asked(
            wording.prompt,
            # Without guidance nothing is avoided: what is not used is not said.
            wording.negative_prompt if model.guidance_scale > 1 else "",
            model=model.id,
            steps=self.steps + wording.more_steps,
            seed=seed,
            width=width,
            height=height,
        )
        return request_for(asked, {model.id: model}, self._drawing.schedulers, lambda: seed)


def queue_of(settings: Settings, log: Logger) -> Interactive:
    """Return the queue of what is drawn beside the jobs, as the settings have it."""
    return Interactive(
        log,
        most=settings.creature_queue_limit,
        batch=settings.creature_batch,
        load_seconds=settings.load_timeout,
        step_seconds=settings.step_timeout,
    )


def open_creatures(
    settings: Settings, drawing: Drawing, queue: Interactive, names: NameSource, log: Logger
) -> tuple[DrawnCreatures, CreaturePainter]:
    """Return what makes creatures with the model of the settings; raise `StartupError` when it cannot be had."""
    prompts = load_prompts(settings.prompts_path, settings.prompt_language)
    model = creature_model(settings, drawing)
    painter = CreaturePainter(
        settings, model, drawing, queue, f"{prompts.digest} {settings.prompt_language}", prompts.most_more_steps
    )
    log.info("creatures are drawn", model=model.id, steps=painter.steps, guidance=model.guidance_scale)
    if painter.steps < model.steps:
        log.warning("SDXL_STEPS are fewer than this model's own", steps=painter.steps, own=model.steps, model=model.id)
    return DrawnCreatures(RarityTable(settings.rarity_weights), prompts, painter, names, log), painter


def creature_model(settings: Settings, drawing: Drawing) -> ModelInfo:
    """Return the model that `SDXL_TURBO_MODEL` means.

    A folder or file that exists goes first, then the id of a model, then the hub id of one that the catalogue knows.
    """
    if drawing.unavailable:
        raise StartupError([f"MINIMON_GENERATION_BACKEND=sdxl: {drawing.unavailable.en}"])
    asked, models = settings.sdxl_turbo_model, {model.id: model for model in drawing.models()}
    path = path_of(asked)
    name = asked if path is None else _id_at(path, settings.models_dir)
    if name not in models:
        name = _by_hub(settings.models_dir / CATALOGUE, asked) or name
    if name not in models and path is not None:
        raise StartupError([f"{SETTING} holds {asked!a}, where there is no model: {_wanted(path)}"])
    if name not in models:
        there = ", ".join(models) or "none"
        raise StartupError(
            [f"{SETTING} holds {asked!a}; it may hold a folder, a model's id or its hub id; there are: {there}"]
        )
    model = models[name]
    if why := model.unavailable:
        how = f". {model.how.en}" if model.how else ""
        raise StartupError([f"{SETTING} holds {asked!a}: the model {name} {why.en}{how}"])
    return model


def path_of(asked: str) -> Path | None:
    """Return the folder or file that `SDXL_TURBO_MODEL` names, or None when there is nothing of that name."""
    path = Path(asked).expanduser()
    if not path.exists():
        return None
    # A link in the folder of models is the model of its own name, wherever the files lie.
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def folder_elsewhere(settings: Settings) -> tuple[Path, ...]:
    """Return the folder of `SDXL_TURBO_MODEL` where it is one that does not lie in the folder of models."""
    path = path_of(settings.sdxl_turbo_model) if settings.generation_backend == "sdxl" else None
    if path is None or not path.is_dir() or path.parent == settings.models_dir.resolve():
        return ()
    if (settings.models_dir / path.name).exists():
        raise StartupError([f"{SETTING} names {path}, but {settings.models_dir / path.name} has that name already"])
    return (path,)


def _id_at(path: Path, root: Path) -> str:
    """Return under which id the model at a path is known."""
    if path.is_dir():
        return path.name
    return path.stem if path.parent == (root / CHECKPOINTS).resolve() else str(path)


def _wanted(path: Path) -> str:
    if path.is_dir():
        return "the folder of a model in the diffusers layout holds a model_index.json"
    return f"a single file lies in {CHECKPOINTS}/ of MINIMON_MODELS_DIR and ends with .safetensors"


def _by_hub(catalogue: Path, asked: str) -> str | None:
    """Return the model of the catalogue that comes from this repository of the hub."""
    try:
        known = read_catalogue(read_bounded(catalogue, LARGEST)).model
    except (CatalogMistakes, OSError):
        return None  # whoever keeps the catalogue has told what is wrong with it
    return next((entry.id for entry in known if entry.source.hub == asked), None)
