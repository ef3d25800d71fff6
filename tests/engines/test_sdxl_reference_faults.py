"""IP-Adapters that do not fit, files that are none, memory that runs out: said, and the next picture is right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from minimon_server.engines.ip_adapter_files import ROOT
from minimon_server.engines.ip_adapter_weights import attached, read_ip_adapter
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_memory import reference_floor
from minimon_server.logs import Logger
from tests.engines import beginnings
from tests.engines.beginnings import go_on
from tests.engines.exhaustion import EXHAUSTED, pipeline
from tests.engines.reference_scene import CONTEXT, HIDDEN, PROJECTED, SHOWN, tensors, use, write
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]
INPUTS = {SHOWN.picture.digest: SHOWN.png}


@pytest.fixture
def root(models: Path, tmp_path: Path) -> Path:
    """Return a folder with a model and one IP-Adapter, `mine`."""
    shutil.copytree(models / "small", tmp_path / "small")
    write(tmp_path, "mine", tensors(plainly_loaded(models / "small").unet, "plus"), "image_encoder")
    return tmp_path


@pytest.fixture
def engine(root: Path, quiet: Logger, tally: MemoryTally) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet, tally)
    yield engine
    engine.close()


def drawn(engine: SdxlEngine, request: DrawRequest) -> np.ndarray[Any, Any]:
    return beginnings.drawn(engine, request, INPUTS)


def weights(root: Path) -> Path:
    return root / ROOT / "mine" / "sdxl_models" / "mine_sdxl.safetensors"


def rename(old: str, new: str) -> Callable[[Path], None]:
    """Return what gives a tensor of the adapter another name; none at all where that is empty."""

    def change(root: Path) -> None:
        held = load_file(weights(root))
        one = held.pop(old)
        save_file(held | ({new: one} if new else {}), weights(root))

    return change


def reshape(name: str, *shape: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        save_file(load_file(weights(root)) | {name: torch.zeros(shape)}, weights(root))

    return change


def configured(**changes: object) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / ROOT / "mine" / "image_encoder" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def gone(root: Path) -> None:
    shutil.rmtree(root / ROOT / "mine")


def pickled(root: Path) -> None:
    weights(root).rename(weights(root).with_suffix(".bin"))


def doubled(root: Path) -> None:
    shutil.copy(weights(root), weights(root).with_name("other.safetensors"))


def without_encoder(root: Path) -> None:
    (root / ROOT / "mine" / "image_encoder" / "model.safetensors").unlink()


def poor_encoder(root: Path) -> None:
    path = root / ROOT / "mine" / "image_encoder" / "model.safetensors"
    held = load_file(path)
    held.pop("visual_projection.weight")
    save_file(held, path, {"format": "pt"})


def cut(root: Path) -> None:
    weights(root).write_bytes(weights(root).read_bytes()[:1000])


FIRST = "ip_adapter.1.to_k_ip.weight"
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "not there": (gone, "it is not on the disk"),
    "a pickle": (pickled, "a .bin file is a pickle, which could run anything when it is read"),
    "two": (doubled, "it holds 2 files of weights where one belongs: mine_sdxl.safetensors, other.safetensors"),
    "no encoder": (without_encoder, "its image encoder is missing: image_encoder/config.json and model.safetensors"),
    "an encoder with holes": (poor_encoder, "its image encoder lacks 1 of its weights, visual_projection.weight first"),
    "another encoder": (configured(hidden_size=64), "its image encoder "),
    "cut": (cut, "its file cannot be read (SafetensorError)"),
    "a layer less": (rename(FIRST, ""), "layers, and the model"),
    "a layer elsewhere": (rename(FIRST, "ip_adapter.99.to_k_ip.weight"), f"it lacks {FIRST}"),
    "a layer for others": (reshape(FIRST, 8, CONTEXT), f"{FIRST} is 8x{CONTEXT}, and the model's layer "),
    "half a projection": (rename("image_proj.proj_out.bias", ""), "it lacks tensors of its projection"),
    "a strange projection": (rename("image_proj.latents", "image_proj.other"), "of a kind that nobody here knows"),
    "one of faces": (rename("image_proj.latents", "image_proj.norm.weight"), "it is a FaceID adapter"),
    "more than that": (rename("image_proj.latents", "other.latents"), "its tensor 'other.latents' belongs to no"),
    "a LoRA": (rename(FIRST, "lora.up"), "its tensor 'lora.up' belongs to no IP-Adapter"),
}


@pytest.mark.parametrize(("break_it", "reason"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_used_is_said_and_the_model_draws_on(
    engine: SdxlEngine, root: Path, request_for: Asking, break_it: Callable[[Path], None], reason: str
) -> None:
    before = drawn(engine, request_for(steps=1))
    break_it(root)
    with pytest.raises(EngineFault) as fault:
        engine.draw(request_for(steps=1, ip_adapter=use("mine")), go_on, INPUTS)
    assert fault.value.text.startswith("The IP-Adapter mine cannot be used with small: ")
    assert reason in fault.value.text
    assert str(root) not in fault.value.text
    assert not engine._references.is_loaded
    assert np.array_equal(drawn(engine, request_for(steps=1)), before)


def test_a_picture_that_is_not_there_is_said(engine: SdxlEngine, request_for: Asking) -> None:
    with pytest.raises(EngineFault, match=r"The reference picture cannot be read \(ValueError\)"):
        engine.draw(request_for(ip_adapter=use("mine")), go_on, {})


def test_memory_that_runs_out_is_found_on_every_way(
    engine: SdxlEngine, request_for: Asking, tally: MemoryTally
) -> None:
    request = request_for(ip_adapter=use("mine"), seeds=(1, 2))
    right = [picture.pixels for picture in engine.draw(request, go_on, INPUTS).pictures]
    held = engine._references._held
    assert held is not None
    held.read.clear()
    rows: list[int] = []

    def one_row_only(_: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        rows.append(len(arguments[0]))
        if len(arguments[0]) > 1:
            raise torch.OutOfMemoryError(EXHAUSTED)

    def first_time(*_: Any) -> None:
        if not tally.out_of_memory:
            raise torch.OutOfMemoryError(EXHAUSTED)

    hooks = [
        pipeline(engine).unet.conv_in.register_forward_pre_hook(one_row_only),
        held.encoder.network.register_forward_pre_hook(first_time),
    ]
    try:
        found = engine.draw(request, go_on, INPUTS)
    finally:
        for hook in hooks:
            hook.remove()
    assert "slice" in found.pictures[0].metadata["rungs"]
    assert rows[-1] == 1
    for ours, whole in zip(found.pictures, right, strict=True):
        difference = np.frombuffer(ours.pixels, np.uint8).astype(int) - np.frombuffer(whole, np.uint8)
        assert np.abs(difference).max() <= 1  # other sizes of matrices, other sums
    assert [picture.pixels for picture in engine.draw(request, go_on, INPUTS).pictures] == right


def test_one_that_surely_does_not_fit_is_not_loaded(
    engine: SdxlEngine, root: Path, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drawn(engine, request_for())
    held = {name: tensor.half() for name, tensor in load_file(weights(root)).items()}
    save_file(held, weights(root))
    floor = 4 * sum(tensor.numel() for tensor in held.values())
    with monkeypatch.context() as short:
        short.setattr("minimon_server.engines.sdxl_ladder.free_bytes", lambda _: floor - 1)
        with pytest.raises(EngineFault, match="Too little memory: reference needs at least"):
            engine.draw(request_for(ip_adapter=use("mine")), go_on, INPUTS)
    assert not engine._references.is_loaded
    assert np.array_equal(drawn(engine, request_for()), before)


def test_the_floor_counts_what_is_there_at_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.fp16.safetensors"
    save_file({"a": torch.zeros(100)}, one)
    save_file({"a": torch.zeros(300, dtype=torch.float16), "b": torch.zeros(9, dtype=torch.int64)}, other)
    # On the CPU both, but for what is mapped; on a device one after the other.
    assert reference_floor([one, other], Place(torch.device("cpu"), torch.float32, "")) == 300 * 4
    assert reference_floor([one, other], Place(torch.device("cpu"), torch.bfloat16, "")) == 100 * 2
    assert reference_floor([one, other], Place(torch.device("cuda"), torch.float16, "")) == 300 * 2


def test_what_breaks_while_it_is_worn_leaves_the_unet_as_it_was(root: Path) -> None:
    unet = plainly_loaded(root / "small").unet
    before = dict(unet.attn_processors)
    adapter = read_ip_adapter(weights(root), unet)
    names: list[str] = []

    def break_while_worn() -> None:
        with attached(unet, adapter, 1.0):
            names.extend(unet.attn_processors)
            raise KeyError("anything")

    with pytest.raises(KeyError):
        break_while_worn()
    assert set(names) > set(before)  # the resampler has some of its own
    assert unet.attn_processors == before
    assert unet.encoder_hid_proj is None
    assert (adapter.kind.variant, adapter.kind.context, adapter.kind.picture) == ("plus", CONTEXT, HIDDEN)
    assert HIDDEN != PROJECTED
