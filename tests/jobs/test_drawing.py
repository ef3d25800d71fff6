"""What a request leaves out or writes in its own way, filled in by the model that will draw it."""

from __future__ import annotations

import pytest

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_info import ModelInfo
from minimon_server.errors import InvalidRequest
from minimon_server.jobs.drawing import Asked, request_for

PLAIN = ModelInfo("plain", "Plain", 64, 64, 9, 5.0)
ZERO = ModelInfo("zero", "Zero", 64, 64, 9, 5.0, guidance_rescale=0.7, schedulers=("euler", "ddim"))


NAMES = ("euler", "dpmpp_2m_karras", "ddim", "heun")


def asked(**said: object) -> DrawRequest:
    models = {model.id: model for model in (PLAIN, ZERO)}
    return request_for(Asked("a", **said), models, NAMES, lambda: 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "rescale"),
    [
        ({"model": "plain"}, 0.0),
        ({"model": "zero"}, 0.7),
        ({"model": "zero", "guidance_scale": 1.0}, 0.0),
        ({"model": "zero", "guidance_rescale": 0.0}, 0.0),
        ({"model": "plain", "guidance_rescale": 0.2, "guidance_scale": 0.0}, 0.2),
    ],
)
def test_guidance_is_rescaled_where_the_model_needs_it(said: dict[str, object], rescale: float) -> None:
    assert asked(**said).guidance_rescale == rescale


def test_a_scheduler_is_named_as_the_engine_names_it() -> None:
    assert asked(scheduler="DPM++ 2M Karras").scheduler == "dpmpp_2m_karras"
    assert asked(scheduler="Euler", model="zero").scheduler == "euler"
    assert asked().scheduler is None


@pytest.mark.parametrize(
    ("scheduler", "why"),
    [
        ("Heun", "heun would draw something else than this model; with it: euler, ddim"),
        ("magic", "is not here; there are: euler, ddim"),
    ],
)
def test_a_scheduler_that_does_not_go_with_the_model_is_refused(scheduler: str, why: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(scheduler=scheduler, model="zero")
    (mistake,) = refused.value.fields
    assert (mistake.field, mistake.message.en) == ("scheduler", why)
    assert mistake.message.fr != mistake.message.en


@pytest.mark.parametrize(("kind", "quality"), [("png", None), ("webp", 90), ("jpeg", 90), ("avif", 80)])
def test_a_quality_is_filled_in_where_there_is_one(kind: str, quality: int | None) -> None:
    assert asked(format=kind).quality == quality
    if quality is None:
        with pytest.raises(InvalidRequest):
            asked(format=kind, quality=50)
    else:
        assert asked(format=kind, quality=50).quality == 50
