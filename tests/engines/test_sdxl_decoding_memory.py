"""Memory runs out while latents become pixels, or pixels latents: nothing stays half done or is told wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.messages import DrawRequest, Progress
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_decoding import decode
from minimon_server.engines.sdxl_inputs import encode
from minimon_server.logs import Logger
from tests.engines.beginnings import noise
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]


def go_on(_: Progress) -> bool:
    return True


def exhausted_once(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next cast of a network run out of memory."""
    whole = network._apply

    def cast(*told: Any, **named: Any) -> Any:
        monkeypatch.setattr(network, "_apply", whole)
        raise torch.OutOfMemoryError(EXHAUSTED)

    monkeypatch.setattr(network, "_apply", cast)


def decoded(vae: Any) -> Any:
    return decode(vae, torch.ones(1, vae.config.latent_channels, 8, 8))


def encoded(vae: Any) -> Any:
    return encode(vae, torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32), noise())


@pytest.mark.parametrize("work", [decoded, encoded])
def test_an_autoencoder_that_memory_does_not_hold_in_32_bits_is_itself_again(
    models: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Any], Any]
) -> None:
    vae = plainly_loaded(models / "small").vae.to(torch.bfloat16)
    before = {name: value.clone() for name, value in vae.state_dict().items()}

    def overflow(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor | None:
        return output * float("nan") if output.dtype == torch.bfloat16 else None

    handles = [part.register_forward_hook(overflow) for part in (vae.decoder, vae.encoder)]
    exhausted_once(vae.decoder, monkeypatch)  # the encoder is cast before it
    with pytest.raises(torch.OutOfMemoryError):
        work(vae)
    assert {value.dtype for value in vae.state_dict().values()} == {torch.bfloat16}
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    work(vae)  # in 32 bits, this time
    for handle in handles:
        handle.remove()
    work(vae)


def test_a_picture_that_was_decoded_whole_says_so_though_the_next_one_needed_tiles(
    models: Path, request_for: Asking, quiet: Logger
) -> None:
    request = request_for(seeds=(1, 2), width=128, height=128)
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)
    right = [one.pixels for one in engine.draw(request, go_on).pictures]
    vae, sides = pipeline(engine).vae, list[int]()

    def exhausted(_: Any, given: Any) -> None:
        sides.append(given[0].shape[-1])
        if len(sides) > 1 and sides[-1] == sides[0]:
            raise torch.OutOfMemoryError(EXHAUSTED)

    handle = vae.decoder.register_forward_pre_hook(exhausted)
    first, second = engine.draw(request, go_on).pictures
    handle.remove()
    engine.close()
    assert (first.pixels == right[0], second.pixels == right[1]) == (True, False)
    assert (first.metadata["decoded"], first.metadata["rungs"]) == ("whole", [])
    assert (second.metadata["decoded"], second.metadata["rungs"]) == ("tiled", ["free", "tile"])


def test_a_picture_that_was_none_and_is_decoded_again_in_tiles_says_so(
    models: Path, request_for: Asking, quiet: Logger
) -> None:
    request = request_for(seeds=(1, 2), width=128, height=128)
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)
    engine.draw(request, go_on)
    vae, sides = pipeline(engine).vae.to(torch.bfloat16), list[int]()

    def exhausted(_: Any, given: Any) -> None:
        sides.append(given[0].shape[-1])
        if len(sides) > 1 and sides[-1] == sides[0]:
            raise torch.OutOfMemoryError(EXHAUSTED)

    def black(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor | None:
        return output * float("nan") if len(sides) == 1 else None

    handles = [vae.decoder.register_forward_pre_hook(exhausted), vae.decoder.register_forward_hook(black)]
    first, _ = engine.draw(request, go_on).pictures
    for handle in handles:
        handle.remove()
    engine.close()
    told = first.metadata
    assert (told["decoded_in"], told["decoded"], told["rungs"]) == ("float32", "tiled", ["free", "tile"])
