"""Which folders under models/ hold an SDXL pipeline in diffusers' layout, and what each one is. Loads no weights.

A folder counts when its parts are the plain classes of the pipeline, with weights as safetensors. A pickle runs what it
holds when it is read, and a class of the folder's own is a program: folders with either are told, and never loaded.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from minimon_server.engines.model_info import ModelInfo
from minimon_server.engines.model_notes import FILE, ModelNotes, read_notes
from minimon_server.engines.schedulers import SCHEDULERS, has_zero_snr, most_steps, offered
from minimon_server.engines.weights_digest import digest_of
from minimon_server.logs import Logger

PIPELINE: Final = "StableDiffusionXLPipeline"
# The same parts under another name, of models made for repainting: they need a picture and a mask.
REPAINTING: Final = "StableDiffusionXLInpaintPipeline"
# The parts that are networks, and the class that each one must be.
NETWORKS: Final = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
TOKENIZERS: Final = ("tokenizer", "tokenizer_2")
TOKENIZER_CLASSES: Final = ("CLIPTokenizer", "CLIPTokenizerFast")
LARGEST_JSON: Final = 16 * 1024 * 1024

# Steps and guidance where neither a request nor the folder's minimon.json says any. A distilled model shows itself by
# the scheduler it comes with.
USUAL: Final = (30, 5.0)
LCM: Final = (4, 1.0)
TURBO: Final = (1, 0.0)
# Guidance over-exposes the pictures of a model with zero terminal SNR (Lin et al. 2023, "Common Diffusion Noise
# Schedules and Sample Steps are Flawed", section 3.4, where 0.7 is the authors' choice).
ZERO_SNR_RESCALE: Final = 0.7

Signature = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One pipeline on disk that can be loaded."""

    info: ModelInfo
    path: Path
    settings: Mapping[str, Any]  # model_index.json
    variants: Mapping[str, str | None]  # of each network: None, or the fp16 of diffusion_pytorch_model.fp16.safetensors

    @property
    def native_size(self) -> int | None:
        """The side in pixels at which it always draws; None: any."""
        return self.info.native_size


class BrokenModel(Exception):
    """Why a folder cannot be loaded, for people and without paths."""


class ModelFolders:
    """The models of one folder, looked up again whenever something in it has changed. For every thread."""

    def __init__(self, root: Path, log: Logger, more: Sequence[Path] = ()) -> None:
        """`more` are folders of single models that lie elsewhere; each is known by its own name."""
        self._root = root
        self._more = tuple(more)
        self._log = log
        self._lock = threading.Lock()  # a folder that has not changed is one object, whoever asks
        self._seen: dict[str, tuple[Signature, ModelFolder | str]] = {}
        self._problem: str | None = None

    @property
    def root(self) -> Path:
        """The folder that they are in."""
        return self._root

    def infos(self) -> Sequence[ModelInfo]:
        """Return the models that can be asked for, by name; a broken one is told in the log, once a change."""
        return [found.info for found in self._look().values() if isinstance(found, ModelFolder)]

    def broken(self) -> Mapping[str, str]:
        """Return the folders that look like a model and cannot be loaded, each with its reason."""
        return {name: found for name, found in self._look().items() if isinstance(found, str)}

    def has(self, model: str) -> bool:
        """Return whether there is a folder of this name, be it broken."""
        return model in self._look()

    def find(self, model: str) -> ModelFolder:
        """Return the folder of `model`; raise `BrokenModel` with the reason when there is none that can be loaded."""
        found = self._look().get(model)
        if isinstance(found, ModelFolder):
            return found
        if found is not None:
            raise BrokenModel(f"The model {model} cannot be loaded: {found}.")
        there = ", ".join(info.id for info in self.infos()) or "none"
        raise BrokenModel(f"There is no model {model} here; there are: {there}.")

    def fingerprint(self, model: str) -> str | None:
        """Return what tells the weights of `model` from others, see `fingerprint_of`; None when there is none."""
        found = self._look().get(model)
        try:
            return fingerprint_of(found.path) if isinstance(found, ModelFolder) else None
        except BrokenModel as error:
            self._log.warning("model has no fingerprint", model=model, reason=str(error))
            return None

    def _look(self) -> Mapping[str, ModelFolder | str]:
        with self._lock:
            seen: dict[str, tuple[Signature, ModelFolder | str]] = {}
            for path in self._candidates():
                signature = _signature(path)
                known = self._seen.get(path.name)
                seen[path.name] = known if known and known[0] == signature else (signature, self._read(path))
            self._seen = seen
            return {name: found for name, (_, found) in seen.items()}

    def _candidates(self) -> list[Path]:
        problem = None
        try:
            paths = sorted(self._root.iterdir())
        except FileNotFoundError:
            paths = []  # no folder, no models: as a new installation is
        except OSError as error:
            paths, problem = [], (error.strerror or str(error)).lower()
        if problem and problem != self._problem:
            self._log.warning("models cannot be listed", folder=str(self._root), reason=problem)
        self._problem = problem
        return [path for path in (*paths, *self._more) if os.path.lexists(path / "model_index.json")]

    def _read(self, path: Path) -> ModelFolder | str:
        try:
            return read_model(path)
        except BrokenModel as error:
            self._log.warning("model cannot be used", model=path.name, reason=str(error))
            return str(error)


def read_model(path: Path) -> ModelFolder:
    """Return what the folder at `path` holds; raise `BrokenModel` with what is wrong or missing."""
    settings = read_json(path, "model_index.json")
    if settings.get("_class_name") not in (PIPELINE, REPAINTING):
        raise BrokenModel(f"its pipeline is not a {PIPELINE}")
    for part, expected in NETWORKS.items():
        _check_class(settings, part, (expected,))
    for part in TOKENIZERS:
        _check_class(settings, part, TOKENIZER_CLASSES)
        if not ((path / part / "vocab.json").is_file() or (path / part / "tokenizer.json").is_file()):
            raise BrokenModel(f"{part}/ has no vocabulary")
    variants = {part: _variant(path, part) for part in NETWORKS}
    unet, vae, scheduler = (
        read_json(path, f"{part}/{name}.json")
        for part, name in (("unet", "config"), ("vae", "config"), ("scheduler", "scheduler_config"))
    )
    blocks, channels = vae.get("block_out_channels"), vae.get("latent_channels", 4)  # as AutoencoderKL has it
    side = unet.get("sample_size") or 128
    if not isinstance(blocks, list) or not blocks or not isinstance(side, int):
        raise BrokenModel("its sizes cannot be read from unet/config.json and vae/config.json")
    notes = notes_of(path)
    pixels = notes.native_size or side * 2 ** (len(blocks) - 1)
    if pixels % 2 ** (len(blocks) - 1):
        raise BrokenModel(f"native_size in {FILE} is no multiple of {2 ** (len(blocks) - 1)}, the pixels of one latent")
    steps, guidance = notes.pace(*pace_of(scheduler))
    # The width of both text encoders' embeddings side by side: SDXL's own, and that of its LoRAs.
    base = "sdxl" if unet.get("cross_attention_dim") == 2048 else "unknown"
    names = tuple(offered(scheduler))
    info = ModelInfo(
        path.name,
        notes.name or path.name,
        width=pixels,
        height=pixels,
        steps=steps,
        guidance_scale=guidance,
        guidance_rescale=ZERO_SNR_RESCALE if has_zero_snr(scheduler) else 0.0,
        schedulers=None if names == SCHEDULERS else names,
        most_steps=most_steps(scheduler),
        base=base,
        clip_layers=min(_layers(path, part) for part in ("text_encoder", "text_encoder_2")),
        licence=notes.licence or "",
        native_size=notes.native_size,
        latents=(channels, 2 ** (len(blocks) - 1)) if isinstance(channels, int) else None,
    )
    return ModelFolder(info, path, settings, variants)


def fingerprint_of(path: Path) -> str:
    """Return a SHA-256 over what draws in the folder at `path`: weights, settings and vocabularies, each by its name,
    its size, its beginning and evenly spread samples.

    Whole weights would take seconds; another training of the same network differs in every sample. Settings are small
    and so read whole: another `prediction_type` is another picture. Raise `BrokenModel` when they cannot be read.
    """
    try:
        return digest_of({str(file.relative_to(path)): file for file in _drawing(path)})
    except OSError as error:
        raise BrokenModel(f"its weights cannot be read ({(error.strerror or 'error').lower()})") from None


def _drawing(path: Path) -> list[Path]:
    """Return the files of a folder that decide what is drawn."""
    found = {file for part in NETWORKS for file in (path / part).glob("*.safetensors")}
    words = {file for part in TOKENIZERS for file in (path / part).glob("*")}
    return sorted(found | {file for file in words.union(_watched(path)) if file.is_file()})


def _layers(path: Path, part: str) -> int:
    """Return how many layers a text encoder has; CLIPTextConfig says 12 where the file says nothing."""
    layers = read_json(path, f"{part}/config.json").get("num_hidden_layers", 12)
    if not isinstance(layers, int) or layers < 1:
        raise BrokenModel(f"the layers of its {part} cannot be read from {part}/config.json")
    return layers


def notes_of(path: Path) -> ModelNotes:
    """Return what a folder says of itself, nothing where it says nothing; raise `BrokenModel` for what is wrong."""
    if not os.path.lexists(path / FILE):
        return ModelNotes()
    try:
        return read_notes(read_json(path, FILE))
    except ValueError as error:
        raise BrokenModel(str(error)) from None


def pace_of(scheduler: Mapping[str, Any]) -> tuple[int, float]:
    """Return steps and guidance by the configuration of the scheduler that a model comes with."""
    kind = scheduler.get("_class_name")
    if kind == "LCMScheduler":
        return LCM
    if kind == "EulerAncestralDiscreteScheduler" and scheduler.get("timestep_spacing") == "trailing":
        return TURBO
    return USUAL


def _check_class(settings: Mapping[str, Any], part: str, expected: Sequence[str]) -> None:
    named = settings.get(part)
    if not isinstance(named, list) or len(named) != 2 or named[1] not in expected:
        raise BrokenModel(f"its {part} is not a {expected[0]}")


def _variant(path: Path, part: str) -> str | None:
    """Return the variant that a network's weights are stored as, the plain one first."""
    stem = "diffusion_pytorch_model" if NETWORKS[part].startswith(("UNet", "Auto")) else "model"
    folder = path / part
    for variant in (None, "fp16"):
        name = f"{stem}.{variant}" if variant else stem
        index = f"{stem}.safetensors.index.{variant}.json" if variant else f"{stem}.safetensors.index.json"
        if (folder / f"{name}.safetensors").is_file() or (folder / index).is_file():
            return variant
    if any(folder.glob("*.bin")) or any(folder.glob("*.ckpt")) or any(folder.glob("*.pt")):
        raise BrokenModel(f"{part}/ holds its weights as a pickle, which could run anything: safetensors only")
    raise BrokenModel(f"{part}/{stem}.safetensors is missing")


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Return the object of a JSON file of a folder; raise `BrokenModel` when it cannot be read or is none."""
    try:
        file = path / name
        if file.stat().st_size > LARGEST_JSON:
            raise BrokenModel(f"{name} is too large")
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise BrokenModel(f"{name} cannot be read ({(error.strerror or 'error').lower()})") from None
    except ValueError:
        raise BrokenModel(f"{name} is not JSON") from None
    if not isinstance(found, dict):
        raise BrokenModel(f"{name} is not a JSON object")
    return found


def _signature(path: Path) -> Signature:
    """Return what changes when a file of the folder is added, removed or written anew: a few calls, no reading."""
    return tuple(_changed(watched) for watched in _watched(path))


@lru_cache(maxsize=256)
def _watched(path: Path) -> tuple[Path, ...]:
    names = ["model_index.json", FILE, "scheduler", "scheduler/scheduler_config.json", *TOKENIZERS]
    names += [name for part in NETWORKS for name in (part, f"{part}/config.json")]
    return (path, *(path / name for name in names))


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # not there: as much an answer as a time
