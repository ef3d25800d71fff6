"""From a folder to a pipeline on a device: part by part, from local files, safetensors only. Draws nothing."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from minimon_server.engines.devices import DeviceWish, cuda_problem
from minimon_server.engines.messages import EngineFault
from minimon_server.engines.model_folders import NETWORKS, TOKENIZERS, BrokenModel, ModelFolder, read_json

# Whether to go on, after so many MiB of so many have been read.
Loading = Callable[[int, int], None]
# Networks that are in memory already, by the part that they are.
Known = Mapping[str, torch.nn.Module]
NOTHING_KNOWN: Final[Known] = {}

CLASSES: Final[dict[str, Any]] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pipeline computes and in which numbers, and why there."""

    device: torch.device
    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        """What computes, as a person knows it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type


def choose_place(wish: DeviceWish) -> Place:
    """Return the place for `wish`; raise `EngineFault` when CUDA was wished for and there is none."""
    if wish != "cpu" and torch.cuda.is_available():
        # Emulated bfloat16 is slower than true float16: only cards that compute in it count.
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = torch.bfloat16 if has_bfloat16 else torch.float16
        return Place(torch.device("cuda"), dtype, "a CUDA device is there")
    if wish == "cuda":
        raise EngineFault(f"MINIMON_DEVICE=cuda, but {cuda_problem() or 'torch cannot use the device'}.")
    reason = "MINIMON_DEVICE=cpu" if wish == "cpu" else (cuda_problem() or "torch cannot use the CUDA device")
    return Place(torch.device("cpu"), torch.float32, reason)


def load(folder: ModelFolder, place: Place, tell: Loading, known: Known = NOTHING_KNOWN) -> StableDiffusionXLPipeline:
    """Return the pipeline of `folder` on `place`; call `tell` before the first part and after every one.

    Networks that are `known` are taken as they are, and not loaded. Raise `BrokenModel` when the files do not hold what
    the folder promises.
    """
    parts: dict[str, Any] = {}
    sizes = {part: _mebibytes(folder.path / part) for part in NETWORKS}
    whole, read = sum(sizes.values()), 0
    tell(read, whole)
    with telling_what_is_broken(folder.info.id):
        for part in NETWORKS:
            there = known.get(part)
            if there is None:
                there = network_of(folder.path / part, part, folder.variants[part], place)
            parts[part] = there
            read += sizes[part]
            tell(read, whole)
        for part in TOKENIZERS:
            parts[part] = CLIPTokenizer.from_pretrained(folder.path / part, local_files_only=True)
        settings = diffusers.DDIMScheduler.load_config(folder.path / "scheduler", local_files_only=True)
        parts["scheduler"] = scheduler_of(settings)
    return assembled(parts, bool(folder.settings.get("force_zeros_for_empty_prompt", True)))


@contextmanager
def telling_what_is_broken(model: str) -> Iterator[None]:
    """Turn what the libraries raise over the files of a model into `BrokenModel`, and tell the log."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        # What libraries say of a folder names its path: that is for the log, not for the client.
        logging.getLogger(__name__).warning("model %s: %s", model, error, exc_info=error)
        raise BrokenModel(f"The model {model} cannot be loaded; the server's log says why.") from None


def assembled(parts: dict[str, Any], zeros: bool) -> StableDiffusionXLPipeline:
    """Return the pipeline of these parts; `zeros`: an empty negative prompt is no embedding at all."""
    pipeline = StableDiffusionXLPipeline(**parts, force_zeros_for_empty_prompt=zeros, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    know_signatures(parts["unet"])
    return pipeline


def know_signatures(network: torch.nn.Module) -> None:
    """Spare a network's attention the search for its processors' parameters, which the library does at every call.

    (`diffusers.models.attention_processor.Attention.forward`.) It is a twentieth of a small model's time on a CPU.
    `inspect.signature` takes a signature that is there as it is; what is called stays the processor's class.
    """
    for module in network.modules():
        processor = getattr(module, "processor", None)
        if processor is None:
            continue
        parameters = list(inspect.signature(type(processor).__call__).parameters.values())
        bound = partial(type(processor).__call__, processor)
        bound.__signature__ = inspect.Signature(parameters[1:])  # type: ignore[attr-defined] # a partial has a dict
        processor.__call__ = bound


def forget_signatures(network: torch.nn.Module) -> None:
    """Undo `know_signatures`: torch.compile cannot look into a call that stands on an instance."""
    for module in network.modules():
        vars(getattr(module, "processor", module)).pop("__call__", None)


def dtype_of(part: str, place: Place, settings: Mapping[str, Any]) -> torch.dtype:
    """Return the numbers that a part of these settings computes in: those of its place, but for an autoencoder."""
    # SDXL's own overflows in float16: black pictures. One that was mended says so, such as sdxl-vae-fp16-fix.
    overflows = part == "vae" and place.dtype == torch.float16 and settings.get("force_upcast", True)
    return torch.float32 if overflows else place.dtype


def lay_out(network: Any, device: torch.device) -> None:
    """Lay the convolutions of a network out as a GPU computes them fastest; a CPU gains nothing by it.

    Numbers stay as they are, and so does the layout when weights move, are merged or cast.
    """
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)


def network_of(folder: Path, part: str, variant: str | None, place: Place) -> torch.nn.Module:
    """Return the network in `folder`, of the class of `part`; raise as the libraries do, or `ValueError`."""
    # Always a dtype: without one, files of halves come back as halves or as floats, as each library likes.
    network, report = CLASSES[part].from_pretrained(
        folder,
        dtype=dtype_of(part, place, read_json(folder, "config.json")),
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        # The libraries would fill them with noise and go on.
        raise ValueError(f"{part} lacks {len(missing)} of its weights, {missing[0]} first")
    assert isinstance(network, torch.nn.Module)
    return network.to(place.device).eval().requires_grad_(False)


def scheduler_of(settings: Mapping[str, Any]) -> Any:
    """Return the scheduler of a configuration; raise `ValueError` for one that the library does not know."""
    name = settings.get("_class_name", "")
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if kind is None:
        raise ValueError(f"its scheduler {name!r} is unknown")
    return kind.from_config(settings)


def _mebibytes(folder: Path) -> int:
    return max(1, sum(file.stat().st_size for file in _weights(folder)) // 2**20)


def _weights(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.safetensors")
