"""From the files of an IP-Adapter to networks: its attention layers, its projection, its image encoder. Draws nothing.

The layers are made by the library's own loader (`UNet2DConditionLoadersMixin`, loaders/unet.py, 0.42.1), which leaves
the UNet as it is; what a file lacks or has too much is found here, for the library would not say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from safetensors import SafetensorError, safe_open
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

from minimon_server.engines.ip_adapter_files import BadIpAdapter, IpAdapterFiles, IpAdapterKind, kind_of

HOME: Final = torch.device("cpu")  # where all of it rests between two drawings
# What the library names the processor of the attention that reads words.
_READS_WORDS: Final = ".attn2.processor"


@dataclass(frozen=True, slots=True)
class IpAdapter:
    """The networks of one IP-Adapter, for UNets of one layout, in the numbers of that UNet."""

    kind: IpAdapterKind
    processors: Mapping[str, torch.nn.Module]  # by the names of the UNet's attention processors
    projection: torch.nn.Module

    def move(self, device: torch.device) -> None:
        """Move all of it to a device; exact."""
        for part in (*self.processors.values(), self.projection):
            part.to(device)


@dataclass(frozen=True, slots=True)
class ImageEncoder:
    """The network that reads a reference picture, and what brings a picture to its size and numbers."""

    network: Any
    processor: Any


def layout_of(unet: Any) -> tuple[tuple[str, int, int], ...]:
    """Return what an IP-Adapter must fit: each attention that reads words, with the widths of what it reads and is."""
    found = []
    for name in unet.attn_processors:
        if name.endswith(_READS_WORDS):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            found.append((name, layer.to_k.in_features, layer.to_k.out_features))
    return tuple(found)


def read_ip_adapter(path: Path, unet: Any) -> IpAdapter:
    """Return the IP-Adapter of a file for a UNet, in its numbers, in main memory; raise `BadIpAdapter` where they do
    not go together.
    """
    tensors = _tensors(path)
    kind = kind_of({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    layout = layout_of(unet)
    if kind.layers != len(layout):
        raise BadIpAdapter(f"it has {kind.layers} layers, and the model {len(layout)}")
    _check_layers(tensors, layout)
    split: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        split[part][rest] = tensor
    try:
        made = unet._convert_ip_adapter_attn_to_diffusers([split], low_cpu_mem_usage=True)
        projection = unet._convert_ip_adapter_image_proj_to_diffusers(split["image_proj"], low_cpu_mem_usage=True)
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise BadIpAdapter(f"its tensors are not those of an IP-Adapter ({type(error).__name__})") from error
    processors = {name: made[name] for name, _, _ in layout}
    whole = MultiIPAdapterImageProjection([projection])
    for part in (*processors.values(), whole):
        if any(value.is_meta for value in part.parameters()):
            raise BadIpAdapter("it lacks tensors of its projection")
        part.to(HOME, unet.dtype).eval().requires_grad_(False)
    return IpAdapter(kind, processors, whole)


def read_encoder(files: IpAdapterFiles, dtype: torch.dtype) -> ImageEncoder:
    """Return the image encoder of an IP-Adapter in main memory; raise `BadIpAdapter`."""
    try:
        loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
            files.encoder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise BadIpAdapter(f"its image encoder cannot be loaded ({type(error).__name__})") from error
    network, report = loaded
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report.get("mismatched_keys") or ())
    if missing:
        # The library would fill them with noise and go on.
        raise BadIpAdapter(f"its image encoder lacks {len(missing)} of its weights, {missing[0][:80]} first")
    side = network.config.image_size  # as the library has it, `IPAdapterMixin.load_ip_adapter`
    # Pillow's own arithmetic, whether or not torchvision is there: the same numbers on every machine.
    processor = CLIPImageProcessorPil(size=side, crop_size=side)
    return ImageEncoder(network.eval().requires_grad_(False), processor)


@contextmanager
def attached(unet: Any, adapter: IpAdapter, scale: float) -> Iterator[None]:
    """Let a UNet read a reference picture beside the words, and leave it as it was found, processors and all.

    The adapter is where the UNet is, and goes where it goes.
    """
    before = {name: processor for name, processor in unet.attn_processors.items() if name in adapter.processors}
    kind_before, projection_before = unet.config.encoder_hid_dim_type, unet.encoder_hid_proj
    try:
        for name, processor in adapter.processors.items():
            processor.scale = [scale]  # type: ignore[assignment] # a list of the library's own, no parameter
            unet.get_submodule(name.removesuffix(".processor")).set_processor(processor)
        unet.encoder_hid_proj = adapter.projection
        unet.config.encoder_hid_dim_type = "ip_image_proj"
        yield
    finally:
        # As an attribute, which the library reads; the entry of the settings was never another.
        unet.config.encoder_hid_dim_type = kind_before
        del unet.encoder_hid_proj
        unet.encoder_hid_proj = projection_before
        for name, processor in before.items():
            unet.get_submodule(name.removesuffix(".processor")).set_processor(processor)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # it is no mapping
    except (OSError, SafetensorError) as error:
        raise BadIpAdapter(f"its file cannot be read ({type(error).__name__})") from error


def _check_layers(tensors: Mapping[str, torch.Tensor], layout: tuple[tuple[str, int, int], ...]) -> None:
    """Raise `BadIpAdapter` unless each layer has both of its weights, of its shape: 1, 3, 5… as the library counts."""
    for number, (_, context, width) in enumerate(layout):
        for part in ("to_k_ip", "to_v_ip"):
            name = f"ip_adapter.{2 * number + 1}.{part}.weight"
            if name not in tensors:
                raise BadIpAdapter(f"it lacks {name}")
            if tuple(tensors[name].shape) != (width, context):
                found = "x".join(map(str, tensors[name].shape))
                raise BadIpAdapter(f"{name} is {found}, and the model's layer {width}x{context}")
