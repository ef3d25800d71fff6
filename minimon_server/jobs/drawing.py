"""From what a client asks to what an engine is told: models, adapters, defaults, seeds. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, Engine, InputPicture
from minimon_server.engines.model_info import ModelInfo
from minimon_server.engines.picture_formats import FORMATS
from minimon_server.engines.schedulers import named
from minimon_server.errors import FieldMistake, InvalidRequest, Text
from minimon_server.jobs.asked_adapters import adapters_of, none_such
from minimon_server.jobs.errors import ModelNotAvailable
from minimon_server.jobs.input_rules import (
    MOST_PIXELS,
    USUAL_STRENGTH,
    AskedHires,
    hires_after,
    input_mistakes,
    size_after,
)

LARGEST_SEED: Final = 2**53 - 1
USUAL_MODEL: Final = "sdxl-base"
_TOO_LARGE: Final = Text(
    f"largeur fois hauteur : au plus {MOST_PIXELS} pixels", f"width times height: at most {MOST_PIXELS} pixels"
)
_LOSSLESS: Final = Text("PNG ne perd rien : il n'a pas de qualité", "PNG loses nothing: it has no quality")


@dataclass(frozen=True, slots=True)
class Drawing:
    """Who draws prompts, and with what. `models` is asked at every request, for folders come and go; it may block.

    `schedulers` are the names that the engine knows besides a model's own. `unavailable` says why nobody draws here.
    `versions` are those of what decides pixels, by the names under which a picture tells them, and `fingerprint` tells
    a model's weights from others; it may block, too. `memory` counts how often memory ran out.
    """

    models: Callable[[], Sequence[ModelInfo]]
    make_engine: Callable[[], Engine]
    schedulers: tuple[str, ...] = ()
    unavailable: Text | None = None
    versions: Callable[[], Mapping[str, str]] = dict
    fingerprint: Callable[[str], str | None] = lambda _model: None
    memory: MemoryTally = field(default_factory=MemoryTally)


def nobody_draws(why: Text) -> Drawing:
    """Return what stands for an engine where there is none."""

    def no_engine() -> Engine:
        raise AssertionError("no job is accepted where nobody draws")

    return Drawing(lambda: (), no_engine, unavailable=why)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for; None is what it leaves to the model."""

    prompt: str
    negative_prompt: str = ""
    model: str | None = None
    loras: tuple[tuple[str, float], ...] = ()
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    scheduler: str | None = None
    clip_skip: int | None = None
    count: int = 1
    guidance_rescale: float | None = None
    format: str = "png"
    quality: int | None = None
    init_image: InputPicture | None = None
    mask: InputPicture | None = None
    strength: float | None = None
    hires: AskedHires | None = None


def request_for(
    asked: Asked, models: Mapping[str, ModelInfo], schedulers: Sequence[str], draw_seed: Callable[[], int]
) -> DrawRequest:
    """Fill in what the client left out; raise `InvalidRequest` naming what there is none of, all at once."""
    if not models:
        raise ModelNotAvailable
    mistakes = mistakes_in(asked, models, schedulers)
    if mistakes:
        raise InvalidRequest(fields=mistakes)
    model = models[_name(asked, models)]
    adapters, _ = adapters_of(asked.prompt, asked.loras, model.supported_loras)
    width, height, steps = _extent(asked, model)
    scheduler = None if asked.scheduler is None else named(asked.scheduler, _there(model, schedulers))
    guidance = model.guidance_scale if asked.guidance_scale is None else asked.guidance_scale
    # What rescales guidance is a default only where there is guidance: else every picture would tell it as ignored.
    rescale = model.guidance_rescale if guidance > 1 else 0.0
    first = draw_seed() if asked.seed is None else asked.seed
    return DrawRequest(
        model=model.id,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        seeds=tuple((first + number) % (LARGEST_SEED + 1) for number in range(asked.count)),
        width=width,
        height=height,
        steps=steps,
        guidance_scale=guidance,
        scheduler=scheduler,
        clip_skip=asked.clip_skip,
        adapters=adapters,
        guidance_rescale=rescale if asked.guidance_rescale is None else asked.guidance_rescale,
        format=asked.format,
        quality=FORMATS[asked.format].quality if asked.quality is None else asked.quality,
        init_image=asked.init_image,
        mask=asked.mask,
        strength=(asked.strength or USUAL_STRENGTH) if asked.init_image else None,
        hires=hires_after(asked.hires, width, height, steps) if asked.hires else None,
    )


def mistakes_in(
    asked: Asked, models: Mapping[str, ModelInfo], schedulers: Sequence[str], wrong: Collection[str] = ()
) -> list[FieldMistake]:
    """Return what a request names that there is none of among `models`, which are some, and how it is too large.

    `wrong` are fields that were found wrong in themselves: nothing is said of them, nor of what depends on them.
    """
    mistakes = []
    name = _name(asked, models)
    model = None if "model" in wrong else models.get(name)
    if model is not None:
        _, wrong_tags = adapters_of(asked.prompt, asked.loras, model.supported_loras)
        named = [*_unknown_loras(asked, model), *wrong_tags, *_wrong_clip_skip(asked, model)]
        mistakes += [one for one in named if not _tells(one.field, wrong)]
    elif "model" not in wrong:
        mistakes.append(FieldMistake("model", none_such(models)))
    if "scheduler" not in wrong and asked.scheduler is not None:
        mistakes += _scheduler_mistakes(asked.scheduler, _there(model, schedulers), schedulers)
    if not {"format", "quality"} & set(wrong) and asked.quality is not None and FORMATS[asked.format].quality is None:
        mistakes.append(FieldMistake("quality", _LOSSLESS))
    width, height, steps = _extent(asked, model)
    if not {"width", "height"} & set(wrong) and width * height > MOST_PIXELS:
        mistakes.append(FieldMistake("width", _TOO_LARGE))
    hires = hires_after(asked.hires, width, height, steps) if asked.hires else None
    mistakes += [one for one in input_mistakes(asked, steps, hires) if not _tells(one.field, wrong)]
    return mistakes


def _extent(asked: Asked, model: ModelInfo | None) -> tuple[int, int, int]:
    """Return the width, the height and the steps of the first pass."""
    steps = asked.steps or (model.steps if model else 1)
    if asked.init_image is not None:
        return *size_after(asked.init_image, asked.width, asked.height), steps
    return asked.width or (model.width if model else 0), asked.height or (model.height if model else 0), steps


def _there(model: ModelInfo | None, schedulers: Sequence[str]) -> Sequence[str]:
    """Return the names that go with a model, or all, where nobody knows which model it is."""
    return schedulers if model is None or model.schedulers is None else model.schedulers


def _scheduler_mistakes(asked: str, there: Sequence[str], schedulers: Sequence[str]) -> list[FieldMistake]:
    if named(asked, there) is not None:
        return []
    known = named(asked, schedulers)
    return [FieldMistake("scheduler", _not_with_this(known, there) if known else none_such(there))]


def _not_with_this(name: str, there: Sequence[str]) -> Text:
    names = ", ".join(there)
    return Text(
        f"{name} dessinerait autre chose que ce modèle ; avec lui : {names or 'rien que le sien'}",
        f"{name} would draw something else than this model; with it: {names or 'its own alone'}",
    )


def _name(asked: Asked, models: Mapping[str, ModelInfo]) -> str:
    return asked.model or (USUAL_MODEL if USUAL_MODEL in models else next(iter(models)))


def _tells(field: str, wrong: Collection[str]) -> bool:
    """Return whether a field, or what it is part of, was told as wrong."""
    parts = field.split(".")
    return any(".".join(parts[: number + 1]) in wrong for number in range(len(parts)))


def _unknown_loras(asked: Asked, model: ModelInfo) -> list[FieldMistake]:
    return [
        FieldMistake(f"loras.{number}.name", none_such(model.supported_loras))
        for number, (name, _) in enumerate(asked.loras)
        if name not in model.supported_loras
    ]


def _wrong_clip_skip(asked: Asked, model: ModelInfo) -> list[FieldMistake]:
    most = model.clip_layers
    if asked.clip_skip is None or most is None or asked.clip_skip <= most:
        return []
    return [FieldMistake("clip_skip", Text(f"au plus {most} avec ce modèle", f"at most {most} with this model"))]
