"""What does not go with a model: schedulers, their steps, layers to skip. Fills in nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minimon_server.engines.messages import Hires
from minimon_server.engines.model_info import ModelInfo
from minimon_server.engines.schedulers import named
from minimon_server.errors import FieldMistake, Text
from minimon_server.jobs.asked_adapters import none_such


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


def scheduler_mistakes(asked: str, there: Sequence[str], schedulers: Sequence[str]) -> list[FieldMistake]:
    """Return what is wrong with a name: none of all `schedulers`, or not one of those that go with the model."""
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
