"""From what a client asks to what an engine is told: models, adapters, defaults, seeds. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from minimon_server.engines.messages import DrawRequest, Engine
from minimon_server.engines.model_info import ModelInfo
from minimon_server.errors import FieldMistake, InvalidRequest, Text
from minimon_server.jobs.asked_adapters import adapters_of, none_such
from minimon_server.jobs.errors import ModelNotAvailable

LARGEST_SEED: Final = 2**53 - 1
USUAL_MODEL: Final = "sdxl-base"
# What one picture of 2048x1536 has; the largest square is 1768x1768.
MOST_PIXELS: Final = 2048 * 1536
_TOO_LARGE: Final = Text(
    f"largeur fois hauteur : au plus {MOST_PIXELS} pixels", f"width times height: at most {MOST_PIXELS} pixels"
)


@dataclass(frozen=True, slots=True)
class Drawing:
    """Who draws prompts, and with what. `models` is asked at every request, for folders come and go; it may block.

    `schedulers` are the names that the engine knows besides a model's own. `unavailable` says why nobody draws here.
    """

    models: Callable[[], Sequence[ModelInfo]]
    make_engine: Callable[[], Engine]
    schedulers: tuple[str, ...] = ()
    unavailable: Text | None = None


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
    width, height = asked.width or model.width, asked.height or model.height
    first = draw_seed() if asked.seed is None else asked.seed
    return DrawRequest(
        model=model.id,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        seeds=tuple((first + number) % (LARGEST_SEED + 1) for number in range(asked.count)),
        width=width,
        height=height,
        steps=model.steps if asked.steps is None else asked.steps,
        guidance_scale=model.guidance_scale if asked.guidance_scale is None else asked.guidance_scale,
        scheduler=asked.scheduler,
        clip_skip=asked.clip_skip,
        adapters=adapters,
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
    if "scheduler" not in wrong and asked.scheduler is not None and asked.scheduler not in schedulers:
        mistakes.append(FieldMistake("scheduler", none_such(schedulers)))
    width = asked.width or (model.width if model else 0)
    height = asked.height or (model.height if model else 0)
    if not {"width", "height"} & set(wrong) and width * height > MOST_PIXELS:
        mistakes.append(FieldMistake("width", _TOO_LARGE))
    return mistakes


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
