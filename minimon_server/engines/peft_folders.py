"""Adapters as PEFT saves them: a folder of tensors and what scales them, read and held against each other. No torch.

A configuration counts only in a folder of its own: beside single files nobody looks for one. What it says is checked by
`peft_settings`, as what a single file says is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from minimon_server.engines.adapter_names import split
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.peft_settings import MOST_TOLD, BadPeft, PeftSettings, settings_of_folder, settings_of_text

# peft/utils/constants.py: SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME, CONFIG_NAME
WEIGHTS: Final = "adapter_model.safetensors"
PICKLE: Final = "adapter_model.bin"
CONFIG: Final = "adapter_config.json"
LARGEST: Final = 1 << 20  # bytes of a configuration
WRAPPER: Final = "base_model.model."


def name_in_pipeline(settings: PeftSettings, key: str) -> str:
    """Return the name of a folder's tensor with the network that it is of."""
    return f"{settings.network}.{key.removeprefix(WRAPPER)}" if key.startswith(WRAPPER) else key


def check_tensors(settings: PeftSettings, shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise `BadPeft` where a folder's tensors, by names and shapes, are not those that were configured."""
    held: dict[str, dict[str, Sequence[int]]] = {}
    for key, shape in shapes.items():
        if parted := split(key):
            held.setdefault(parted[0].removeprefix(WRAPPER), {})[parted[1]] = shape
    for layer, factors in held.items():
        if "alpha" in factors or "scale" in factors:
            raise BadPeft(f"{layer[:MOST_TOLD]} has a scale of its own beside its {CONFIG}")
        settings.check(layer, factors)


def is_peft_folder(path: Path) -> bool:
    """Return whether something is a folder with any of the files that PEFT saves."""
    return path.is_dir() and any((path / name).is_file() for name in (WEIGHTS, PICKLE, CONFIG))


def files_of_adapter(path: Path) -> list[Path]:
    """Return the files of an adapter: a single file, or those of its folder that count."""
    return [path / CONFIG, path / WEIGHTS] if path.is_dir() else [path]


def digest_of_adapter(path: Path, hashes: FileHashes) -> str:
    """Return the SHA-256 of an adapter, its settings included (`FileHashes.of_several`); raise `OSError`."""
    return hashes.of_several(files_of_adapter(path))


def read_settings(folder: Path) -> PeftSettings:
    """Return what the configuration of a folder says; raise `BadPeft` with the member that is wrong, or `OSError`."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            is_pickle = name == WEIGHTS and (folder / PICKLE).is_file()
            why = f": {PICKLE} is a pickle, which could run anything when it is read" if is_pickle else ""
            raise BadPeft(f"{name} is missing{why}")
    with (folder / CONFIG).open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise BadPeft(f"its {CONFIG} has more than {LARGEST >> 20} MiB")
    return settings_of_folder(settings_of_text(data, CONFIG), CONFIG)
