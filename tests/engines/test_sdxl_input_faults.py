"""What an engine cannot begin with: it is said before a step is drawn, and the loaded parts stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minimon_server.engines.messages import DrawRequest, EngineFault, Hires
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_inputs import encode
from minimon_server.engines.sdxl_loading import Place, network_of
from tests.engines.beginnings import CAT, FROM_CAT, INPUTS, MASK, REPAINT, drawn, go_on, noise
from tests.engines.listening import Heard
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]


def test_an_autoencoder_that_wants_32_bits_is_loaded_in_them_and_encodes_in_them(models: Path, tmp_path: Path) -> None:
    for upcast in (True, False):
        folder = tmp_path / str(upcast)
        vae = plainly_loaded(models / "small").vae
        vae.register_to_config(force_upcast=upcast)
        vae.save_pretrained(folder)
        held: Any = network_of(folder, "vae", None, Place(torch.device("cpu"), torch.float16, "a test"))
        # So an autoencoder of halves never asks for 32 bits, and `encode` need not look.
        assert (held.dtype == torch.float16, bool(held.config.force_upcast)) == (not upcast, upcast)
    shades = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    whole: Any = network_of(tmp_path / "True", "vae", None, Place(torch.device("cpu"), torch.float16, "a test"))
    assert torch.equal(encode(whole, shades, noise()), encode(vae, shades, noise()))


def test_latents_of_a_mean_and_deviation_come_back_as_they_went(models: Path) -> None:
    vae = plainly_loaded(models / "small").vae
    shades = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    plainly = encode(vae, shades, noise())
    mean, deviation = [0.5, -1.0, 0.25, 2.0], [2.0, 4.0, 0.5, 1.0]
    vae.register_to_config(latents_mean=mean, latents_std=deviation)
    scale = vae.config.scaling_factor
    found = encode(vae, shades, noise()) * torch.tensor(deviation).view(1, 4, 1, 1) / scale
    assert torch.allclose(found + torch.tensor(mean).view(1, 4, 1, 1), plainly / scale, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"mask": MASK.picture}, "A mask needs an init_image."),
        ({"strength": 0.5}, "come together"),
        ({"init_image": CAT.picture}, "come together"),
        (FROM_CAT | {"strength": 0.2}, "no step to draw"),
        ({"hires": Hires(96, 96, 3, 0.3)}, "no step to draw"),
        (REPAINT | {"hires": Hires(96, 96, 4, 0.5)}, "without a mask"),
        ({"hires": Hires(100, 96, 4, 0.5)}, "multiples of 8"),
        ({"hires": Hires(96, 96, 60, 0.5), "scheduler": "lcm"}, "refuses 60 steps"),
    ],
)
def test_what_cannot_begin_is_said_before_a_step(
    engine: SdxlEngine, request_for: Asking, asked: dict[str, Any], text: str
) -> None:
    heard = Heard()
    with pytest.raises(EngineFault) as caught:
        engine.draw(request_for(**asked), heard, INPUTS)
    assert text in caught.value.text
    assert not heard.of("drawing")


@pytest.mark.parametrize("file", [None, b"", b"GIF89a", CAT.png[:80]])
def test_a_file_that_is_none_is_said(engine: SdxlEngine, request_for: Asking, file: bytes | None) -> None:
    inputs = {} if file is None else {CAT.picture.digest: file}
    with pytest.raises(EngineFault, match="cannot be read"):
        engine.draw(request_for(**FROM_CAT), go_on, inputs)


def test_an_encoder_that_overflows_is_said_and_nothing_is_drawn(engine: SdxlEngine, request_for: Asking) -> None:
    right = drawn(engine, request_for(**FROM_CAT))
    assert engine._model is not None
    bias = engine._model.pipeline.vae.quant_conv.bias
    kept = bias.clone()
    for asked in (FROM_CAT, REPAINT):
        bias.fill_(float("nan"))
        with pytest.raises(EngineFault, match="cannot encode this picture"):
            engine.draw(request_for(**asked), go_on, INPUTS)
        bias.copy_(kept)
    assert np.array_equal(drawn(engine, request_for(**FROM_CAT)), right)
