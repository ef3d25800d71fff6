"""What is told of a picture: A1111's form can be cut up again, and nothing of the moment stands in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minimon_server.engines.messages import AdapterUse, DrawRequest, Hires, InputPicture, IpAdapterUse
from minimon_server.engines.picture_metadata import describe, infotext

Asking = Callable[..., DrawRequest]
MADE_BY = {"scheduler_class": "EulerDiscreteScheduler", "versions": {"minimon": "1.2.3"}}


def test_everything_that_decides_a_picture_is_told(request_for: Asking) -> None:
    begun = {"init_image": InputPicture("a" * 64, 9, 9), "mask": InputPicture("b" * 64, 9, 9), "strength": 0.75}
    begun["ip_adapter"] = IpAdapterUse("plus", InputPicture("c" * 64, 9, 9), 0.6)
    request = request_for(adapters=(AdapterUse("neon", 0.5),), hires=Hires(128, 96, 20, 0.5), decoder="draft", **begun)
    told = describe(request, 9, MADE_BY)
    # The native size that a request knows of is for estimates: the engine tells what it really drew at; and `batch`,
    # where it drew several pictures as one because they need not be exact.
    assert set(DrawRequest.__slots__) - {"seeds", "native_size", "exact"} <= set(told)
    assert told["seed"] == 9
    assert told["adapters"] == [{"name": "neon", "weight": 0.5}]
    assert not {"id", "time", "date"} & set(told)


def test_hashes_are_told_as_a1111_tells_them(request_for: Asking) -> None:
    hashes = {"model": "a1" * 32, "vae": "b2" * 32, "loras": {"neon, glow": "c3" * 32, "ink": "d4" * 32}}
    told = describe(request_for(trigger_words=("neon",)), 9, {**MADE_BY, "hashes": hashes})
    assert told["trigger_words"] == ["neon"]
    assert (
        infotext(told)
        .splitlines()[-1]
        .endswith(
            "Size: 64x64, Model hash: a1a1a1a1a1, Model: small, VAE hash: b2b2b2b2b2, "
            'Lora hashes: "neon, glow: c3c3c3c3c3, ink: d4d4d4d4d4", Version: Minimon 1.2.3'
        )
    )
    unread: dict[str, object] = {"model": None, "vae": None, "loras": {}}
    assert "hash" not in infotext(describe(request_for(), 9, {**MADE_BY, "hashes": unread}))


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({}, "Sampler: EulerDiscreteScheduler, CFG scale: 5, Seed: 9, Size: 64x64, Model: small, Version"),
        ({"scheduler": "euler_a"}, "Sampler: Euler a, CFG scale: 5"),
        ({"guidance_rescale": 0.7}, "Model: small, CFG rescale: 0.7, Version"),
        ({"scheduler": "dpmpp_3m_sde_exponential"}, "Sampler: DPM++ 3M SDE Exponential, CFG scale: 5"),
        (
            {"ip_adapter": IpAdapterUse("plus", InputPicture("c" * 64, 9, 9), 0.6)},
            "IP-Adapter: plus, IP-Adapter scale: 0.6, IP-Adapter image hash: cccccccccc, Version",
        ),
        ({"clip_skip": 2}, "Model: small, Clip skip: 2, Version: Minimon 1.2.3"),
        ({"model": 'a, "b": c'}, 'Model: "a, \\"b\\": c", Version'),
    ],
)
def test_the_last_line_is_a1111s(request_for: Asking, changes: dict[str, object], last: str) -> None:
    assert last in infotext(describe(request_for(**changes), 9, MADE_BY)).splitlines()[-1]


def test_a_prompt_without_negative_has_no_line_for_it(request_for: Asking) -> None:
    assert infotext(describe(request_for(negative_prompt=""), 9, MADE_BY)).splitlines()[1].startswith("Steps: 3")
