"""The draft decoder of the settings: its files, and which latents it takes. Told without torch; loads nothing.

A draft decoder is one of TAESD's kind (diffusers' `AutoencoderTiny`, github.com/madebyollin/taesd): a fraction of the
autoencoder's work, for other pixels. It belongs to a space of latents and not to a model: one serves all of SDXL.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from minimon_server.engines.checkpoint_files import VAE_WEIGHTS
from minimon_server.engines.model_folders import BrokenModel, read_json
from minimon_server.errors import StartupError, Text

Decoder = Literal["full", "draft"]
FULL: Final = "full"
DRAFT: Final = "draft"
SETTING: Final = "SDXL_DRAFT_DECODER"
KIND: Final = "AutoencoderTiny"


@dataclass(frozen=True, slots=True)
class DraftDecoder:
    """One that lies on the disk. It takes latents of so many `channels`, and makes `scale` pixels a side of each."""

    name: str  # as the setting has it
    folder: Path
    weights: Path
    channels: int
    scale: int

    def misfit(self, latents: tuple[int, int]) -> Text | None:
        """Return why this does not decode a model with latents of these channels and pixels a side, or None."""
        channels, scale = latents
        if latents == (self.channels, self.scale):
            return None
        return Text(
            f"le décodeur de brouillon {self.name} prend {self.channels} canaux et fait {self.scale} pixels par côté ; "
            f"ce modèle a {channels} canaux et {scale} pixels",
            f"the draft decoder {self.name} takes {self.channels} channels and makes {self.scale} pixels a side; "
            f"this model has {channels} channels and {scale} pixels",
        )


def find_draft_decoder(asked: str) -> DraftDecoder | None:
    """Return the decoder that the setting names, a folder or a hub id of the local cache; None where it names none.

    Raise `StartupError` where there is none of that name, or where it is something else.
    """
    if not asked:
        return None
    found = _folder(asked) or _in_cache(asked)
    if found is None:
        raise StartupError(
            [
                f"{SETTING} holds {asked!a}; it may hold the folder of an {KIND} (config.json, {VAE_WEIGHTS[0]}), or "
                "the hub id of one that was fetched: hf download madebyollin/taesdxl"
            ]
        )
    try:
        return read_draft_decoder(asked, found)
    except BrokenModel as error:
        raise StartupError([f"{SETTING} holds {asked!a}: {error}"]) from None


def read_draft_decoder(name: str, folder: Path) -> DraftDecoder:
    """Return what lies in a folder; raise `BrokenModel` with what is wrong or missing."""
    settings = read_json(folder, "config.json")
    if settings.get("_class_name") != KIND:
        raise BrokenModel(f"config.json tells no {KIND}")
    weights = next((folder / file for file in VAE_WEIGHTS if (folder / file).is_file()), None)
    if weights is None:
        raise BrokenModel(f"{VAE_WEIGHTS[0]} is missing")
    channels, step = settings.get("latent_channels", 4), settings.get("upsampling_scaling_factor", 2)
    blocks = settings.get("num_decoder_blocks", (3, 3, 3, 1))
    for field, value in (("latent_channels", channels), ("upsampling_scaling_factor", step)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BrokenModel(f"{field} of config.json is {value!a}; it is a whole number of 1 or more")
    if not isinstance(blocks, list | tuple) or not blocks:
        raise BrokenModel("num_decoder_blocks of config.json is no list of numbers")
    # All blocks but the last enlarge (diffusers 0.42.1, `DecoderTiny`).
    return DraftDecoder(name, folder, weights, channels, step ** (len(blocks) - 1))


def _folder(name: str) -> Path | None:
    """Return the folder of that name; None where there is none, or none that may be looked at."""
    try:
        folder = Path(name).expanduser()
        return folder.resolve() if folder.is_dir() else None
    except (OSError, RuntimeError):  # the latter: `~` of somebody who has no home here
        return None


def _in_cache(name: str) -> Path | None:
    """Return the folder of a repository of the hub that was fetched to this machine; nothing is asked of the hub.

    Raise `StartupError` where the package is missing that knows the cache: the light installation has none.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ModuleNotFoundError:
        raise StartupError(
            [
                f"{SETTING} holds {name!a}, which is no folder here; a hub id needs the package huggingface_hub: "
                "install requirements.txt, or name a folder, or leave the variable out"
            ]
        ) from None
    try:
        found: Any = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None  # no name that a repository could have, so it was meant as a folder
    return Path(found).parent if isinstance(found, str) else None
