"""Pixels on their way from the device, the layout that a GPU wants, and no autoencoder that is cast without need."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor

from minimon_server.engines.host_copies import moved, to_host
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_decoding import Decoding, decode
from minimon_server.engines.sdxl_inputs import encode
from minimon_server.engines.sdxl_ladder import HOME, Ladder
from minimon_server.engines.sdxl_landing import Landing, packed
from minimon_server.engines.sdxl_loading import Place, lay_out, network_of
from minimon_server.engines.sdxl_side_by_side import decoded_in_turn
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, files_of, same, state_of, uses
from tests.engines.beginnings import noise
from tests.engines.exhaustion import pipeline
from tests.small_pipeline import autoencoder, plainly_loaded, unet

Asking = Callable[..., DrawRequest]
CUDA = torch.device("cuda")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]


def images(count: int = 2, height: int = 24, width: int = 40) -> torch.Tensor:
    """Return pictures of noise, some of it beyond black and white."""
    numbers = torch.Generator().manual_seed(2)
    return torch.randn((count, 3, height, width), generator=numbers) * 0.7


def rows(count: int, seed: int = 4) -> list[torch.Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    return list(torch.randn((count, 1, 4, 16, 16), generator=numbers).unbind())


@pytest.mark.parametrize("device", DEVICES)
def test_bytes_are_the_librarys_own_and_leave_the_device_before_they_are_written_over(device: str) -> None:
    found = packed(images().to(device))
    landing = Landing(found)
    if found.is_cuda:
        found.zero_()  # as what is computed next in the same memory would
    theirs = VaeImageProcessor().postprocess(images(), output_type="pil")
    for ours, wanted in zip(landing.pixels(), theirs, strict=True):
        assert ours is not None
        assert np.array_equal(ours, np.asarray(wanted))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -5.0])
def test_what_is_no_picture_says_so_itself_and_of_no_other(value: float) -> None:
    spoilt = images(3)
    spoilt[1] = value
    first, second, third = Landing(packed(spoilt)).pixels()
    assert second is None
    assert first is not None
    assert third is not None
    one_number = images(1)
    one_number[0, 2, 23, 39] = float("nan")
    assert Landing(packed(one_number)).pixels() == [None]


def test_the_next_picture_is_begun_before_the_one_before_is_waited_for(log: Logger, request_for: Asking) -> None:
    torch.manual_seed(0)
    parts = type("Parts", (), {"vae": autoencoder().eval()})()
    ladder = Ladder(request_for(), Place(HOME, torch.float32, ""), log, MemoryTally())
    ladder.stand_on(parts, rests=False)
    begun: list[int] = []
    latents = rows(3)
    found = decoded_in_turn(ladder, latents, begun.append)
    first = next(found)
    assert begun == [0, 1]
    left = list(found)
    assert begun == [0, 1, 2]
    for one, latent in zip([first, *left], latents, strict=True):
        assert not isinstance(one, EngineFault)
        assert np.array_equal(one.pixels, decode(parts.vae, latent)[0])


def test_one_of_several_that_is_none_is_decoded_again_alone(models: Path) -> None:
    vae = plainly_loaded(models / "small").vae
    latents = rows(3)
    latents[1] = latents[1] * float("nan")
    first, second, third = Decoding(vae, latents).landed()
    assert isinstance(second, EngineFault)
    for one, latent in ((first, latents[0]), (third, latents[2])):
        assert not isinstance(one, EngineFault)
        assert np.abs(one.pixels.astype(int) - decode(vae, latent)[0]).max() <= 1


# The layout


@pytest.fixture
def engine(shelf: Path, log: Logger) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(shelf, log), "cpu", log)
    yield engine
    engine.close()


def convolutions(*networks: Any) -> list[torch.Tensor]:
    layers = [layer for network in networks for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    return [layer.weight for layer in layers if layer.kernel_size != (1, 1)]


def are_channels_last(*networks: Any) -> bool:
    found = convolutions(*networks)
    return bool(found) and all(one.is_contiguous(memory_format=torch.channels_last) for one in found)


def test_the_layout_of_a_gpu_outlives_merges_and_leaves_every_weight_as_it_is(
    engine: SdxlEngine, shelf: Path, request_for: Asking
) -> None:
    stack = uses(lora=0.7, locon=-0.5)
    plain, worn = drawn(engine, request_for()), drawn(engine, request_for(adapters=stack))
    assert not are_channels_last(pipeline(engine).unet)  # on a CPU nothing is gained, and the library's pixels are
    for network in (pipeline(engine).unet, pipeline(engine).vae):
        lay_out(network, CUDA)
    for request, wanted in ((request_for(adapters=stack), worn), (request_for(), plain)):
        found = np.frombuffer(drawn(engine, request).pixels, np.uint8).astype(int)
        assert are_channels_last(pipeline(engine).unet, pipeline(engine).vae)
        assert np.abs(found - np.frombuffer(wanted.pixels, np.uint8)).max() <= 1
    assert same(state_of(pipeline(engine)), files_of(shelf / "small"))


def test_the_layout_survives_every_move_and_cast() -> None:
    drawing, decoding = unet(), autoencoder()
    before = {name: value.clone() for name, value in drawing.state_dict().items()}
    for network in (drawing, decoding):
        lay_out(network, CUDA)
        to_host(network)
        assert are_channels_last(network)
        moved(network, HOME)
        network.to(dtype=torch.bfloat16)
        network.to(dtype=torch.float32)
        assert are_channels_last(network)
    to_host(drawing)
    for name, value in drawing.state_dict().items():
        assert torch.equal(value, before[name].to(torch.bfloat16).float())


# The autoencoder's numbers


@pytest.mark.parametrize(("upcast", "numbers"), [(True, torch.float32), (False, torch.float16), (None, torch.float32)])
def test_an_autoencoder_that_was_mended_for_halves_is_held_in_halves(
    models: Path, tmp_path: Path, upcast: bool | None, numbers: torch.dtype
) -> None:
    folder = tmp_path / "vae"
    shutil.copytree(models / "small" / "vae", folder)
    settings = json.loads((folder / "config.json").read_text())
    settings.pop("force_upcast")
    (folder / "config.json").write_text(
        json.dumps(settings if upcast is None else {**settings, "force_upcast": upcast})
    )
    halves = network_of(folder, "vae", None, Place(HOME, torch.float16, "a test"))
    assert halves.dtype == numbers
    assert network_of(folder, "vae", None, Place(HOME, torch.bfloat16, "a test")).dtype == torch.bfloat16


def test_bfloat16_is_neither_encoded_nor_decoded_by_way_of_32_bits(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = plainly_loaded(models / "small").vae.to(torch.bfloat16)
    vae.register_to_config(force_upcast=True)
    cast: list[Any] = []
    whole = vae.to

    def to(*where: Any, **named: Any) -> Any:
        cast.append((where, named))
        return whole(*where, **named)

    monkeypatch.setattr(vae, "to", to)
    shades = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    latents = encode(vae, shades, noise())
    assert latents.dtype == torch.bfloat16
    _, decoded_in = decode(vae, latents)
    assert decoded_in == "bfloat16"
    assert cast == []
