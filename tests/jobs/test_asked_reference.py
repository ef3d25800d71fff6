"""Which IP-Adapter reads the reference picture of a request, and what is said where none can."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from minimon_server.engines.messages import DrawRequest, InputPicture, IpAdapterUse, Stack
from minimon_server.engines.model_info import IpAdapterInfo, ModelInfo
from minimon_server.errors import InvalidRequest, Text
from minimon_server.jobs.asked_reference import USUAL_SCALE
from minimon_server.jobs.drawing import Asked, request_for
from minimon_server.jobs.errors import ModelNotAvailable
from minimon_server.jobs.job import text_size

CAT = InputPicture("a" * 64, 640, 480)
MODELS = {
    "xl": ModelInfo("xl", "XL", 64, 64, 9, 5.0, base="sdxl"),
    "own": ModelInfo("own", "Own", 64, 64, 9, 5.0),
}
MISSING = Text("n'est pas sur le disque", "is not on the disk")
FETCH = Text("python download_models.py --part lost", "python download_models.py --part lost")
LOST = IpAdapterInfo("lost", "Lost", "sdxl", unavailable=MISSING, how=FETCH)
OLD = IpAdapterInfo("old", "Old", "sd15", "plain")
PLUS = IpAdapterInfo("plus", "Plus", "sdxl", "plus")
FACE = IpAdapterInfo("face", "Face", "sdxl", "plus")


def asked(*there: IpAdapterInfo, model: str = "xl", **said: object) -> DrawRequest:
    known = {one.id: one for one in there}
    return request_for(Asked("a", model=model, **said), MODELS, ("euler",), lambda: 1, ip_adapters=known)  # type: ignore[arg-type]


def test_the_first_that_fits_and_is_there_reads_it() -> None:
    made = asked(LOST, OLD, PLUS, FACE, ip_adapter_image=CAT)
    assert made.ip_adapter == IpAdapterUse("plus", CAT, USUAL_SCALE)
    assert made.inputs == (CAT,)
    assert (made.width, made.height) == (64, 64)  # it decides no size
    assert made.stack == Stack("xl")
    assert asked(OLD, model="own", ip_adapter_image=CAT).ip_adapter == IpAdapterUse("old", CAT, USUAL_SCALE)


def test_one_that_is_named_reads_it_at_the_scale_that_is_asked_for() -> None:
    for scale in (0.0, 1.5):
        made = asked(PLUS, FACE, ip_adapter_image=CAT, ip_adapter="face", ip_adapter_scale=scale, init_image=CAT)
        assert made.ip_adapter == IpAdapterUse("face", CAT, scale)
        assert made.inputs == (CAT, CAT)
    assert text_size(made) > text_size(asked(init_image=CAT))


def test_without_a_picture_there_is_none() -> None:
    assert asked(PLUS).ip_adapter is None


@pytest.mark.parametrize(
    ("there", "said", "mistakes"),
    [
        ([PLUS], {"ip_adapter_scale": 0.5}, {"ip_adapter_scale": "needs ip_adapter_image"}),
        ([PLUS], {"ip_adapter": "plus"}, {"ip_adapter": "needs ip_adapter_image"}),
        (
            [PLUS, FACE],
            {"ip_adapter_image": CAT, "ip_adapter": "no"},
            {"ip_adapter": "is not here; there are: plus, face"},
        ),
        (
            [PLUS, OLD],
            {"ip_adapter_image": CAT, "ip_adapter": "old"},
            {"ip_adapter": "old is made for sd15; xl is a model of sdxl"},
        ),
        ([OLD], {"ip_adapter_image": CAT}, {"ip_adapter_image": "old is made for sd15; xl is a model of sdxl"}),
        (
            [PLUS],
            {"ip_adapter_scale": 0.5, "mask": CAT},
            {"ip_adapter_scale": "needs ip_adapter_image", "mask": "needs init_image"},
        ),
    ],
)
def test_what_does_not_go_together_is_named(
    there: list[IpAdapterInfo], said: Mapping[str, object], mistakes: dict[str, str]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(*there, **said)  # type: ignore[arg-type]
    assert {one.field: one.message.en for one in refused.value.fields} == mistakes
    assert all(one.message.fr != one.message.en for one in refused.value.fields)


@pytest.mark.parametrize("named", [{}, {"ip_adapter": "lost"}])
def test_one_that_is_missing_is_said_with_what_brings_it(named: dict[str, str]) -> None:
    with pytest.raises(ModelNotAvailable) as refused:
        asked(OLD, LOST, ip_adapter_image=CAT, **named)
    assert refused.value.detail.en == "lost is not on the disk. python download_models.py --part lost"


def test_where_none_is_known_it_is_said_how_one_becomes_so() -> None:
    with pytest.raises(ModelNotAvailable) as refused:
        asked(ip_adapter_image=CAT)
    assert "models/ip-adapter/" in refused.value.detail.en
    assert "models/ip-adapter/" in refused.value.detail.fr
