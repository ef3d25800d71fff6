"""From one file in the layout of SDXL's training program to a pipeline on a device, without a network. Draws nothing.

The library's own functions rename the tensors; nothing is fetched, guessed or filled in. The file is mapped, not read
into memory: what lies in it as it is wanted is used where it lies, the rest is cast one tensor after the other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from diffusers.loaders import single_file_utils
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextConfig, CLIPTokenizer

from minimon_server.engines.checkpoint_files import FLOATS, VAE_WEIGHTS, Checkpoint, OnDisk
from minimon_server.engines.checkpoint_shapes import (
    PLACES,
    Architecture,
    NotSdxl,
    Settings,
    Shapes,
    architecture_of,
    has_zero_snr,
    prediction_of,
    scheduler_settings,
)
from minimon_server.engines.clip_words import END, clip_words
from minimon_server.engines.model_folders import NETWORKS, TOKENIZERS, BrokenModel, ModelFolder
from minimon_server.engines.sdxl_loading import (
    CLASSES,
    NOTHING_KNOWN,
    Known,
    Loading,
    Place,
    assembled,
    dtype_of,
    load,
    network_of,
    scheduler_of,
    telling_what_is_broken,
)

Tensors = dict[str, torch.Tensor]
_library: Any = single_file_utils  # which has no types

# What each of SDXL's tokenizers fills up with (its tokenizer_config.json): the end, and "!", which has the number 0.
PADDING: Final = {"tokenizer": END, "tokenizer_2": "!"}
LONGEST: Final = 77  # tokens
# Tensors that come with many files and draw nothing: running averages and the noise of the training, and buffers.
IDLE: Final = (
    "model_ema.",
    "denoiser.",
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus",
    "posterior_",
    "v_pred",
    "ztsnr",
)
IDLE_BUFFERS: Final = ("position_ids", "logit_scale")
MOST_NAMED: Final = 8


def load_model(model: OnDisk, place: Place, tell: Loading, known: Known = NOTHING_KNOWN) -> StableDiffusionXLPipeline:
    """Return the pipeline of a folder or of a single file; see `sdxl_loading.load`."""
    if isinstance(model, ModelFolder):
        return load(model, place, tell, known)
    return load_checkpoint(model, place, tell, known)


def load_checkpoint(
    model: Checkpoint, place: Place, tell: Loading, known: Known = NOTHING_KNOWN
) -> StableDiffusionXLPipeline:
    """Return the pipeline of a single file on `place`; call `tell` before the first part and after every one.

    Raise `BrokenModel` when the file does not hold an SDXL model.
    """
    try:
        with telling_what_is_broken(model.name), safe_open(model.path, framework="pt") as file:
            return _loaded(model, file, place, tell, known)
    except NotSdxl as error:
        raise BrokenModel(f"The model {model.name} cannot be loaded: {error}.") from None
    except SafetensorError as error:
        logging.getLogger(__name__).warning("model %s: %s", model.name, error)
        raise BrokenModel(f"The model {model.name} cannot be loaded: it is no whole safetensors file.") from None


def _loaded(model: Checkpoint, file: Any, place: Place, tell: Loading, known: Known) -> StableDiffusionXLPipeline:
    shapes: Shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 # no mapping
    found = architecture_of(shapes)
    if model.vae is None and found.vae is None:
        raise NotSdxl("it holds no VAE, and none was named for it")
    sizes = {part: _mebibytes(file, shapes, part) for part in NETWORKS}
    whole, read = sum(sizes.values()), 0
    tell(read, whole)
    parts: dict[str, Any] = {}
    for part in NETWORKS:
        if part in known:
            parts[part] = known[part]
        elif part == "vae" and model.vae is not None:
            parts[part] = _vae_beside(model, place)
        else:
            parts[part] = _network(part, settings_inside(model, found, part), _tensors(file, shapes, part), place)
        read += sizes[part]
        tell(read, whole)
    for part in TOKENIZERS:
        parts[part] = tokenizer_of(model, part)
    metadata = file.metadata() or {}
    predicts = prediction_of(shapes.keys(), metadata)
    parts["scheduler"] = scheduler_of(
        model.scheduler or scheduler_settings(predicts, has_zero_snr(shapes.keys(), metadata))
    )
    _tell_strangers(model.name, shapes)
    return assembled(parts, zeros=True)


def settings_inside(model: Checkpoint, found: Architecture, part: str) -> Settings:
    """Return what a part of a single file is built with: what shapes tell, and before it what its folder says."""
    said: Settings | None = getattr(found, part)
    return {**(said or {}), **model.configs.get(part, {})}


def tokenizer_of(model: Checkpoint, part: str) -> CLIPTokenizer:
    """Return one of the two tokenizers of a single file: its own where it has one, else SDXL's."""
    own = model.tokenizer(part)
    if own is not None:
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(own, local_files_only=True)
        return tokenizer
    words, merges = clip_words()
    kind: Any = CLIPTokenizer  # which says that it takes texts, and takes pairs
    made: CLIPTokenizer = kind(words, merges, pad_token=PADDING[part], model_max_length=LONGEST)
    return made


def _vae_beside(model: Checkpoint, place: Place) -> torch.nn.Module:
    assert model.vae is not None
    plain = (model.vae / VAE_WEIGHTS[0]).is_file()
    return network_of(model.vae, "vae", None if plain else "fp16", place)


def _tensors(file: Any, shapes: Shapes, part: str) -> Tensors:
    """Return the tensors of one part as they lie in the file; raise `ValueError` for what are no plain weights."""
    found = {}
    for name in shapes:
        if name.startswith(PLACES[part]) and not name.endswith(IDLE_BUFFERS):
            tensor = file.get_tensor(name)
            if not tensor.is_floating_point():
                raise ValueError(f"{name} holds {tensor.dtype}, no weights")
            found[name] = tensor
    return found


def _network(part: str, settings: Settings, tensors: Tensors, place: Place) -> torch.nn.Module:
    """Return a network with these weights; raise `ValueError` or `RuntimeError` where they do not fit it."""
    with init_empty_weights(include_buffers=False):
        network = _empty(part, settings)
    found = renamed(part, settings, tensors, network)
    _tell_unused(part, tensors, found)
    dtype = dtype_of(part, place, settings)
    weights = {}
    for name in list(found):  # let go of one by one: there is never a whole second copy
        weights[name] = found.pop(name).to(place.device, dtype)
    report = network.load_state_dict(weights, strict=False, assign=True)
    for what, names in (("lacks", report.missing_keys), ("does not know", report.unexpected_keys)):
        if names:
            raise ValueError(f"{part} {what} {len(names)} of its weights, {sorted(names)[0]} first")
    if part == "vae" and not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise NotSdxl("its VAE holds what is not a number: name another one for it")
    assert isinstance(network, torch.nn.Module)
    return network.to(place.device).eval().requires_grad_(False)


def _empty(part: str, settings: Settings) -> Any:
    """Return a network without weights."""
    kind = CLASSES[part]
    return kind(CLIPTextConfig(**settings)) if part.startswith("text_encoder") else kind.from_config(dict(settings))


def renamed(part: str, settings: Settings, tensors: Tensors, network: Any) -> Tensors:
    """Return the weights by the names that the libraries' classes have for them, which `network` is one of."""
    found: Tensors
    if part == "unet":
        found = _library.convert_ldm_unet_checkpoint(tensors, settings)
    elif part == "vae":
        found = _library.convert_ldm_vae_checkpoint(tensors, settings)
    elif part == "text_encoder":
        found = _library.convert_ldm_clip_checkpoint(tensors)
    else:
        found = _open_clip(tensors, network)
    if part.startswith("text_encoder") and not hasattr(network, "text_model"):
        found = {name.removeprefix("text_model."): tensor for name, tensor in found.items()}
    return found


def _open_clip(tensors: Tensors, network: Any) -> Tensors:
    place = PLACES["text_encoder_2"]
    turned = tensors.pop(f"{place}text_projection.weight", None)  # as some programs save it
    if turned is not None:
        tensors[f"{place}text_projection"] = turned.T
    found: Tensors = _library.convert_open_clip_checkpoint(network, tensors, prefix=place)
    return found


def _mebibytes(file: Any, shapes: Shapes, part: str) -> int:
    """Return what a part takes in the file, in MiB."""
    names = [name for name in shapes if name.startswith(PLACES[part])]
    numbers = sum(math.prod(shapes[name]) * FLOATS.get(file.get_slice(name).get_dtype(), 1) for name in names)
    return max(1, numbers // 2**20)


def _tell_unused(part: str, tensors: Tensors, found: Mapping[str, torch.Tensor]) -> None:
    """Tell which tensors of a part nobody wanted: the renaming drops what it does not know."""
    used = {tensor.data_ptr() for tensor in found.values()}
    copied = (".in_proj_weight", ".in_proj_bias", "text_projection")
    left = (name for name, tensor in tensors.items() if tensor.data_ptr() not in used and not name.endswith(copied))
    _tell(part, left)


def _tell_strangers(model: str, shapes: Shapes) -> None:
    """Tell which tensors of a file belong to no part."""
    _tell(model, (name for name in shapes if not name.startswith((*PLACES.values(), *IDLE))))


def _tell(where: str, names: Iterator[str]) -> None:
    left = sorted(names)
    if left:
        told = ", ".join(left[:MOST_NAMED]) + (", …" if len(left) > MOST_NAMED else "")
        logging.getLogger(__name__).warning("%s: %d tensors are not used: %s", where, len(left), told)
