"""What a model takes no more of: layers to skip, and steps of the schedulers of distilled models. Fills in nothing."""

from __future__ import annotations

from collections.abc import Iterator

from minimon_server.engines.messages import Hires
from minimon_server.engines.model_info import ModelInfo
from minimon_server.errors import FieldMistake, Text


def step_mistakes(model: ModelInfo, scheduler: str | None, steps: int, hires: Hires | None) -> Iterator[FieldMistake]:
    """Yield where a pass has more steps than its scheduler takes; `scheduler` None is the model's own.

    The second pass has the steps of the first where it names none: then `steps` alone is wrong.
    """
    most = dict(model.most_steps).get(scheduler)
    if most is None:
        return
    told = Text(
        f"au plus {most} avec {scheduler or 'le scheduler de ce modèle'}",
        f"at most {most} with {scheduler or 'the scheduler of this model'}",
    )
    if steps > most:
        yield FieldMistake("steps", told)
    if hires is not None and hires.steps > most and hires.steps != steps:
        yield FieldMistake("hires.steps", told)


def clip_skip_mistakes(model: ModelInfo, clip_skip: int | None) -> list[FieldMistake]:
    """Return what is wrong with a layer of the text encoders, counted from the end, that is asked for."""
    most = model.clip_layers
    if clip_skip is None or most is None or clip_skip <= most:
        return []
    return [FieldMistake("clip_skip", Text(f"au plus {most} avec ce modèle", f"at most {most} with this model"))]
