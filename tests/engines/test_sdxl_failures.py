"""What goes wrong inside a model: it is said, nothing wrong is served, and the next picture is right."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import features
from safetensors.torch import load_file, save_file

from minimon_server.engines.messages import DrawRequest, EngineFault, Progress
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.picture_files import can_be_written
from minimon_server.engines.picture_formats import FORMATS
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_decoding import decode
from minimon_server.engines.sdxl_loading import Place
from minimon_server.logs import Logger
from tests.engines.listening import Heard

Asking = Callable[..., DrawRequest]


def go_on(_: Progress) -> bool:
    return True


@pytest.fixture
def engine(models: Path, log: Logger, request_for: Asking) -> SdxlEngine:
    engine = SdxlEngine(ModelFolders(models, log), "cpu", log)
    engine.draw(request_for(), go_on)
    return engine


def part(engine: SdxlEngine, name: str) -> Any:
    assert engine._model is not None
    return getattr(engine._model.pipeline, name)


def test_numbers_that_are_none_end_the_picture_at_once(engine: SdxlEngine, request_for: Asking) -> None:
    bias = part(engine, "unet").conv_out.bias
    right = bias.clone()
    heard = Heard()
    bias.fill_(float("nan"))
    with pytest.raises(EngineFault, match="not a number at step 1"):
        engine.draw(request_for(), heard)
    assert [(said.phase, said.current) for said in heard] == [("drawing", 0)]
    bias.copy_(right)
    assert engine.draw(request_for(), go_on).pictures[0].pixels


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e6])
def test_a_picture_that_is_none_or_black_is_never_served(engine: SdxlEngine, request_for: Asking, value: float) -> None:
    part(engine, "vae").decoder.conv_out.bias.fill_(value)
    with pytest.raises(EngineFault, match="black picture"):
        engine.draw(request_for(), go_on)


@pytest.fixture
def halved(models: Path, log: Logger, request_for: Asking, monkeypatch: pytest.MonkeyPatch) -> SdxlEngine:
    """Return an engine that computes in bfloat16, as on a GPU."""
    place = Place(torch.device("cpu"), torch.bfloat16, "a test")
    monkeypatch.setattr("minimon_server.engines.sdxl.choose_place", lambda _: place)
    engine = SdxlEngine(ModelFolders(models, log), "auto", log)
    engine.draw(request_for(), go_on)
    return engine


def spoil(network: Any, value: float, *, everything: bool) -> Any:
    """Let a network compute nothing but `value`: always, or in 16 bits only."""

    def hook(_: Any, __: Any, result: torch.Tensor) -> torch.Tensor:
        return torch.full_like(result, value) if everything or result.dtype == torch.bfloat16 else result

    return network.register_forward_hook(hook)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_no_number_in_16_bits_is_drawn_again_in_32(
    halved: SdxlEngine, request_for: Asking, value: float, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    (right,) = halved.draw(request_for(), go_on).pictures
    assert right.metadata["dtype"] == right.metadata["decoded_in"] == "bfloat16"
    handle = spoil(part(halved, "unet").conv_out, value, everything=False)
    (rescued,) = halved.draw(request_for(), go_on).pictures
    handle.remove()
    assert (rescued.metadata["dtype"], rescued.metadata["decoded_in"]) == ("float32", "bfloat16")
    assert [line["step"] for line in logged() if line["event"] == "not a number: drawn again in float32"] == [1]
    assert part(halved, "unet").dtype == torch.bfloat16
    assert halved.draw(request_for(), go_on).pictures[0].pixels == right.pixels


@pytest.mark.parametrize("value", [float("nan"), -1e6])
def test_a_picture_that_is_none_in_16_bits_is_decoded_again_in_32(
    halved: SdxlEngine, request_for: Asking, value: float
) -> None:
    (right,) = halved.draw(request_for(), go_on).pictures
    handle = spoil(part(halved, "vae").decoder, value, everything=False)
    (rescued,) = halved.draw(request_for(), go_on).pictures
    handle.remove()
    assert (rescued.metadata["dtype"], rescued.metadata["decoded_in"]) == ("bfloat16", "float32")
    assert halved.draw(request_for(), go_on).pictures[0].pixels == right.pixels


@pytest.mark.parametrize(("network", "text"), [("unet", "not a number at step 1"), ("vae", "black picture")])
def test_what_is_none_in_32_bits_either_is_not_served(
    halved: SdxlEngine, request_for: Asking, network: str, text: str
) -> None:
    right = halved.draw(request_for(), go_on).pictures[0].pixels
    inner = part(halved, "unet").conv_out if network == "unet" else part(halved, "vae").decoder
    handle = spoil(inner, float("nan"), everything=True)
    with pytest.raises(EngineFault, match=text) as caught:
        halved.draw(request_for(), go_on)
    handle.remove()
    assert not caught.value.retry
    assert halved.draw(request_for(), go_on).pictures[0].pixels == right


def test_what_overflows_in_half_precision_is_decoded_in_full(engine: SdxlEngine) -> None:
    vae = part(engine, "vae").to(torch.float16)
    # Values of this size pass through the last block and are beyond float16 there; a norm brings them back.
    vae.decoder.conv_norm_out.weight.mul_(1e3)
    vae.decoder.conv_out.weight.mul_(1e3)
    latents = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        spoilt = vae.decode(latents.half() / vae.config.scaling_factor, return_dict=False)[0]
    assert not torch.isfinite(spoilt).all()
    weights = {name: value.clone() for name, value in vae.state_dict().items()}
    pixels, decoded_in = decode(vae, latents.half())
    assert decoded_in == "float32"
    assert pixels.shape == (64, 64, 3)
    assert vae.dtype == torch.float16
    assert all(torch.equal(value, weights[name]) for name, value in vae.state_dict().items())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "CUDA out of memory: 64x64"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "Out of memory: 64x64 pixels"),
        (MemoryError(), "Out of memory: 64x64 pixels with small need more"),
    ],
)
def test_memory_that_runs_out_fails_one_picture_and_is_given_back(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    right = engine.draw(request_for(), go_on).pictures[0].pixels
    large: list[weakref.ref[torch.Tensor]] = []

    def run_out(*_: object, **__: object) -> None:
        held = torch.ones(1000)
        large.append(weakref.ref(held))
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(part(engine, "unet"), "forward", run_out)
        with pytest.raises(EngineFault, match=text) as caught:
            engine.draw(request_for(), go_on)
    assert caught.value.__context__ is None
    error.__traceback__ = None  # the parameter of this test holds the error, the engine no longer does
    gc.collect()
    assert large[0]() is None
    assert engine.draw(request_for(), go_on).pictures[0].pixels == right


def test_any_other_error_is_not_taken_for_memory(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(part(engine, "unet"), "forward", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        engine.draw(request_for(), go_on)


def test_weights_that_are_missing_are_not_filled_with_noise(
    models: Path, tmp_path: Path, request_for: Asking, log: Logger
) -> None:
    for name in ("unet", "text_encoder"):
        root = tmp_path / name
        shutil.copytree(models / "small", root / "small")
        (file,) = (root / "small" / name).glob("*.safetensors")
        weights = load_file(file)
        weights.pop(next(key for key in sorted(weights) if key.endswith("weight")))
        save_file(weights, file, metadata={"format": "pt"})
        engine = SdxlEngine(ModelFolders(root, log), "cpu", log)
        with pytest.raises(EngineFault, match="cannot be loaded; the server's log says why"):
            engine.draw(request_for(), go_on)
        assert engine.loaded is None


def test_a_file_cut_short_is_a_model_that_cannot_be_loaded(
    models: Path, tmp_path: Path, request_for: Asking, log: Logger
) -> None:
    shutil.copytree(models / "small", tmp_path / "small")
    file = tmp_path / "small" / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(EngineFault) as caught:
        SdxlEngine(ModelFolders(tmp_path, log), "cpu", log).draw(request_for(), go_on)
    assert str(tmp_path) not in caught.value.text


def test_a_format_that_cannot_be_written_is_told_before_anything_is_drawn(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(can_be_written(kind) for kind in FORMATS)
    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    heard = Heard()
    with pytest.raises(EngineFault, match="cannot write avif"):
        engine.draw(request_for(format="avif"), heard)
    assert heard == []
    assert engine.draw(request_for(format="webp"), go_on).pictures


def test_cuda_that_was_wished_for_and_is_not_there_is_said(models: Path, request_for: Asking, log: Logger) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(EngineFault, match="MINIMON_DEVICE=cuda, but"):
        SdxlEngine(ModelFolders(models, log), "cuda", log).draw(request_for(), go_on)


def test_the_picture_after_a_failure_is_the_picture_before_it(engine: SdxlEngine, request_for: Asking) -> None:
    before = engine.draw(request_for(), go_on).pictures[0].pixels
    for changes in ({"clip_skip": 9}, {"scheduler": "lcm", "steps": 99}, {"model": "nowhere"}):
        with pytest.raises(EngineFault):
            engine.draw(request_for(**changes), go_on)
    after = engine.draw(request_for(), go_on).pictures[0].pixels
    assert after == before
