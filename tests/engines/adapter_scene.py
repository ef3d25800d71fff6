"""Adapters for the small pipeline, made by their own libraries with random numbers, and what these make of a UNet."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from lycoris import create_lycoris
from safetensors.torch import load_file, save_file

from minimon_server.engines.adapter_names import Layer, LayerNames
from minimon_server.engines.adapter_reading import Adapter
from minimon_server.engines.adapter_stack import AdapterStack, ReadAdapter, Wanted, read_adapter
from minimon_server.engines.messages import AdapterUse, DrawnPicture, DrawRequest
from minimon_server.engines.near_copies import NearCopies
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.small_pipeline import SIDE, TIME_IDS, WIDTHS

CPU = torch.device("cpu")
Tensors = dict[str, torch.Tensor]


def nothing(*_: object) -> None:
    """Hear how far a merge is, and what it takes."""


def shaken(network: Any, seed: int, size: float = 0.1) -> Any:
    """Give every parameter of an adapter random numbers: fresh ones change nothing."""
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.loras:
            for parameter in layer.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=numbers), alpha=size)
    return network


def lycoris_over(unet: Any, seed: int, size: float = 0.1, **settings: Any) -> Any:
    """Return a LyCORIS network over a UNet, of random numbers, not yet applied."""
    usual = {"linear_dim": 4, "linear_alpha": 2.0, "warn_on_unmatched": False}
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # it begins with random numbers of its own
        return shaken(create_lycoris(unet, 1.0, **usual | settings), seed, size)


def tensors_of(network: Any, prefix: str = "lora_unet_") -> Tensors:
    """Return what such a network is saved as, under the names of Kohya's trainers."""
    found = {}
    for layer in network.loras:
        told = layer.state_dict()
        if type(layer).__name__ == "FullModule":  # what it would tell is only right after it was applied
            told = {"diff": layer.weight} | ({} if layer.bias is None else {"diff_b": layer.bias})
        for name, tensor in told.items():
            found[f"{layer.lora_name.replace('lycoris_', prefix, 1)}.{name}"] = tensor.detach().clone().contiguous()
    return found


def noise(seed: int = 1) -> dict[str, Any]:
    """Return inputs of a small UNet."""
    numbers = torch.Generator().manual_seed(seed)
    return {
        "sample": torch.randn(2, 4, SIDE // 4, SIDE // 4, generator=numbers),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": torch.randn(2, 9, sum(WIDTHS), generator=numbers),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(2, 32, generator=numbers),
            "time_ids": torch.rand(2, 6, generator=numbers) * TIME_IDS,
        },
    }


@torch.no_grad()
def answer(unet: Any) -> torch.Tensor:
    """Return what a UNet makes of the noise."""
    found: torch.Tensor = unet(**noise(), return_dict=False)[0]
    return found


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Write an adapter's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), path, metadata)
    return path


def wanted(path: Path, weight: float = 1.0) -> Wanted:
    """Return an adapter as the engine asks for it."""
    return Wanted(path.stem, path, sha256(path.read_bytes()).hexdigest(), weight)


def reading_once() -> ReadAdapter:
    """Return what reads each adapter once, as an engine that keeps them does; for models of one shape."""
    known: dict[str, Adapter] = {}

    def read(one: Wanted, names: LayerNames, layers: Mapping[Layer, Any]) -> Adapter:
        if one.digest not in known:
            known[one.digest] = read_adapter(one, names, layers)
        return known[one.digest]

    return read


def stack_over(
    loaded: Any, folder: Path | None, log: Logger, *, read: ReadAdapter = read_adapter, near: NearCopies | None = None
) -> AdapterStack:
    """Return the stack of a pipeline that was loaded from a folder; without one, its files serve nothing."""
    parts = ("unet", "text_encoder", "text_encoder_2")
    files = {part: sorted((folder / part).glob("*.safetensors")) for part in parts} if folder else {}
    return AdapterStack(loaded, files, CPU, log, read=read, near=near)


def state_of(loaded: Any) -> Tensors:
    """Return a copy of every weight that an adapter may change."""
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part in ("unet", "text_encoder", "text_encoder_2")
        for name, tensor in getattr(loaded, part).state_dict().items()
    }


def same(one: Tensors, other: Tensors) -> bool:
    """Return whether two states are the same to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


KINDS: Mapping[str, dict[str, Any]] = {
    "lora": {"algo": "lora", "preset": "attn-only"},
    "locon": {"algo": "lora", "use_tucker": True},
    "loha": {"algo": "loha"},
    "lokr": {"algo": "lokr", "factor": 4},
    "dora": {"algo": "lora", "dora_wd": True, "preset": "attn-only"},
    "full": {"algo": "full", "preset": "attn-only"},
}


def write_six(loaded: Any, folder: Path) -> None:
    """Write an adapter of each of `KINDS` to a folder; the first changes both text encoders too."""
    for number, (name, settings) in enumerate(KINDS.items()):
        tensors = tensors_of(lycoris_over(loaded.unet, number, 0.05, **settings))
        if name == "lora":
            for prefix, encoder in (("lora_te1_", loaded.text_encoder), ("lora_te2_", loaded.text_encoder_2)):
                tensors |= tensors_of(lycoris_over(encoder, number, 0.2, preset="full-lin"), prefix)
        write(folder / f"{name}.safetensors", tensors)


def uses(**weights: float) -> tuple[AdapterUse, ...]:
    """Return adapters with their weights, as a request holds them."""
    return tuple(AdapterUse(name, weight) for name, weight in weights.items())


def drawn(engine: SdxlEngine, request: DrawRequest) -> DrawnPicture:
    """Return the one picture of a request."""
    (picture,) = engine.draw(request, lambda _: True).pictures
    return picture


def files_of(folder: Path) -> Tensors:
    """Return the weights in the files of a model, under the names that they have in memory."""
    found: Tensors = {}
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model"), ("text_encoder_2", "model")):
        for key, tensor in load_file(folder / part / f"{name}.safetensors").items():
            found[f"{part}.{key}"] = tensor
    return found
