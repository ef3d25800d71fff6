"""What a request leaves out or writes in its own way, filled in by the model that will draw it."""

from __future__ import annotations

import pytest

from minimon_server.engines.messages import DrawRequest, InputPicture
from minimon_server.engines.model_info import ModelInfo
from minimon_server.errors import InvalidRequest
from minimon_server.jobs.drawing import Asked, request_for
from minimon_server.jobs.input_rules import AskedHires

PLAIN = ModelInfo("plain", "Plain", 64, 64, 9, 5.0)
DISTILLED = ModelInfo("distilled", "Distilled", 64, 64, 4, 1.0, most_steps=(("lcm", 50), (None, 40)), scheduler="euler")
ZERO = ModelInfo("zero", "Zero", 64, 64, 9, 5.0, guidance_rescale=0.7, schedulers=("euler", "ddim"))
NATIVE = ModelInfo("native", "Native", 256, 256, 8, 3.0, native_size=256)

NAMES = ("euler", "dpmpp_2m_karras", "ddim", "heun", "lcm")


def asked(**said: object) -> DrawRequest:
    models = {model.id: model for model in (PLAIN, ZERO, NATIVE, DISTILLED)}
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


@pytest.mark.parametrize(
    ("said", "mistakes"),
    [
        ({"scheduler": "LCM", "steps": 50}, {}),
        ({"scheduler": "LCM", "steps": 51}, {"steps": "at most 50 with lcm"}),
        ({"scheduler": "LCM", "steps": 51, "hires": AskedHires(scale=2.0)}, {"steps": "at most 50 with lcm"}),
        ({"scheduler": "LCM", "hires": AskedHires(scale=2.0, steps=60)}, {"hires.steps": "at most 50 with lcm"}),
        ({"steps": 51}, {}),  # the catalogue's scheduler, which takes any number
        ({"steps": 41, "exact": True}, {"steps": "at most 40 with the scheduler of this model"}),
    ],
)
def test_steps_that_a_scheduler_does_not_take_are_named(said: dict[str, object], mistakes: dict[str, str]) -> None:
    if not mistakes:
        assert asked(model="distilled", **said).steps == said["steps"]
        return
    with pytest.raises(InvalidRequest) as refused:
        asked(model="distilled", **said)
    assert {one.field: one.message.en for one in refused.value.fields} == mistakes
    assert all(one.message.fr != one.message.en for one in refused.value.fields)


@pytest.mark.parametrize(("kind", "quality"), [("png", None), ("webp", 90), ("jpeg", 90), ("avif", 80)])
def test_a_quality_is_filled_in_where_there_is_one(kind: str, quality: int | None) -> None:
    assert asked(format=kind).quality == quality
    if quality is None:
        with pytest.raises(InvalidRequest):
            asked(format=kind, quality=50)
    else:
        assert asked(format=kind, quality=50).quality == 50


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({}, (256, 256)),
        ({"width": 512}, (512, 512)),
        ({"height": 64}, (64, 64)),
        ({"width": 512, "height": 64}, (512, 64)),
        ({"init_image": InputPicture("a" * 64, 640, 480)}, (640, 480)),
        ({"init_image": InputPicture("a" * 64, 640, 480), "width": 320}, (320, 240)),
    ],
)
def test_a_model_of_one_size_gives_any_other_and_the_request_says_what_it_draws(
    said: dict[str, object], size: tuple[int, int]
) -> None:
    made = asked(model="native", **said)
    assert (made.width, made.height, made.native_size) == (*size, 256)
    assert made.passes[0][1] == 256 * 256
    other = asked(model="plain", width=512)
    assert (other.width, other.height, other.native_size) == (512, 64, None)


def test_a_model_of_one_size_has_no_second_pass() -> None:
    for wish in (AskedHires(scale=2), AskedHires()):
        with pytest.raises(InvalidRequest) as refused:
            asked(model="native", hires=wish)
        (mistake,) = refused.value.fields
        assert mistake.field == "hires"
        assert mistake.message.en == (
            "not with this model, which always draws at 256x256; ask for the size by width and height"
        )
        assert mistake.message.fr.startswith("pas avec ce modèle, qui dessine toujours en 256x256 ;")
