"""How large a picture is drawn that begins with another, and which wishes do not go together."""

from __future__ import annotations

import pytest

from minimon_server.engines.messages import Hires, InputPicture, drawn_steps
from minimon_server.errors import InvalidRequest
from minimon_server.jobs.drawing import Asked, request_for
from minimon_server.jobs.input_rules import MOST_PIXELS, AskedHires, hires_after, size_after
from tests.crayon import MODELS

MODELS_BY_NAME = {model.id: model for model in MODELS}
CAT = InputPicture("a" * 64, 640, 480)


@pytest.mark.parametrize(
    ("own", "asked", "drawn"),
    [
        ((640, 480), (None, None), (640, 480)),
        ((645, 487), (None, None), (640, 480)),
        ((640, 480), (1024, 512), (1024, 512)),
        ((640, 480), (320, None), (320, 240)),
        ((640, 480), (None, 240), (320, 240)),
        ((1, 1), (None, None), (64, 64)),
        ((50, 1000), (None, None), (64, 1000)),
        ((4000, 3000), (None, None), (2048, 1536)),
        ((4096, 4096), (None, None), (1768, 1768)),
        ((16_384, 1000), (None, None), (2048, 120)),
        ((16_384, 1), (None, 512), (2048, 512)),
        ((1, 16_384), (None, None), (64, 2048)),
    ],
)
def test_a_picture_is_drawn_at_its_own_size_as_far_as_that_goes(
    own: tuple[int, int], asked: tuple[int | None, int | None], drawn: tuple[int, int]
) -> None:
    found = size_after(InputPicture("a" * 64, *own), *asked)
    assert found == drawn
    assert found[0] * found[1] <= MOST_PIXELS


def test_the_second_pass_has_a_factor_or_a_size_and_the_steps_of_the_first() -> None:
    assert hires_after(AskedHires(scale=1.5), 1024, 768, 30) == Hires(1536, 1152, 30, 0.7)
    assert hires_after(AskedHires(scale=1.13), 1000, 64, 30) == Hires(1128, 72, 30, 0.7)
    assert hires_after(AskedHires(width=96, height=64, steps=9, strength=0.2), 8, 8, 30) == Hires(96, 64, 9, 0.2)


@pytest.mark.parametrize(("steps", "strength", "drawn"), [(30, 0.75, 22), (50, 0.58, 28), (4, 1.0, 4), (3, 0.3, 0)])
def test_steps_are_counted_as_diffusers_counts_them(steps: int, strength: float, drawn: int) -> None:
    assert drawn_steps(steps, strength) == drawn == min(int(steps * strength), steps)


def asked(**changes: object) -> Asked:
    return Asked(prompt="a", model="tiny", **changes)  # type: ignore[arg-type] # a test may change any field


@pytest.mark.parametrize(
    ("wish", "mistakes"),
    [
        (asked(mask=CAT), {"mask": "needs init_image"}),
        (asked(strength=0.5), {"strength": "needs init_image"}),
        (asked(init_image=CAT, strength=0.2), {"strength": "steps x strength = 4 x 0.2: at least 1 step"}),
        (asked(init_image=CAT, steps=1), {"strength": "steps x strength = 1 x 0.75: at least 1 step"}),
        (
            asked(init_image=CAT, mask=InputPicture("b" * 64, 480, 640)),
            {"mask": "has 480x640 pixels; init_image has 640x480"},
        ),
        (asked(hires=AskedHires()), {"hires": "either scale, or width and height"}),
        (asked(hires=AskedHires(width=64)), {"hires": "either scale, or width and height"}),
        (asked(hires=AskedHires(scale=2, width=64)), {"hires": "either scale, or width and height"}),
        (asked(hires=AskedHires(scale=2, width=64, height=64)), {"hires": "either scale, or width and height"}),
        (
            asked(hires=AskedHires(scale=2, strength=0.1)),
            {"hires.strength": "steps x strength = 4 x 0.1: at least 1 step"},
        ),
        (
            asked(width=1024, height=1024, hires=AskedHires(scale=2)),
            {"hires": "2048x2048 pixels; at most 2048 a side and 3145728 in all"},
        ),
        (
            asked(width=1024, height=64, hires=AskedHires(scale=4)),
            {"hires": "4096x256 pixels; at most 2048 a side and 3145728 in all"},
        ),
        (asked(init_image=CAT, mask=CAT, hires=AskedHires(scale=1)), {"hires": "cannot be used with mask"}),
        (
            asked(mask=CAT, strength=0.5, hires=AskedHires(strength=0.1)),
            {
                "mask": "needs init_image",
                "strength": "needs init_image",
                "hires": "either scale, or width and height",
                "hires.strength": "steps x strength = 4 x 0.1: at least 1 step",
            },
        ),
    ],
)
def test_what_does_not_go_together_is_named_at_once(wish: Asked, mistakes: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request_for(wish, MODELS_BY_NAME, ("euler",), lambda: 7)
    found = {one.field: one.message.en for one in caught.value.fields}
    assert found == mistakes | ({"hires": "either scale, or width and height"} if len(mistakes) == 4 else {})
    assert all(one.message.fr != one.message.en for one in caught.value.fields)


def test_what_is_left_out_is_filled_in() -> None:
    made = request_for(asked(init_image=CAT, hires=AskedHires(scale=2)), MODELS_BY_NAME, ("euler",), lambda: 7)
    assert (made.width, made.height, made.strength) == (640, 480, 0.75)
    assert made.hires == Hires(1280, 960, 4, 0.7)
    assert made.total_steps == 3 + 2
    plain = request_for(asked(), MODELS_BY_NAME, ("euler",), lambda: 7)
    assert (plain.strength, plain.hires, plain.inputs, plain.total_steps) == (None, None, (), 4)
