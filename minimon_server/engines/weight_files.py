"""Which files a model's weights lie in, part by part, and where the files of adapters lie. Told without torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from minimon_server.engines.checkpoint_files import VAE_WEIGHTS, Checkpoint, Models, OnDisk
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.model_folders import NETWORKS, BrokenModel, ModelFolders
from minimon_server.engines.peft_folders import files_of_adapter, is_peft_folder

# The file of an adapter by its id, or the folder that it is as PEFT saves it; None: there is none.
FindAdapter = Callable[[str], Path | None]
ADAPTERS: Final = "loras"  # inside the folder of models


def weight_files(folder: OnDisk) -> dict[str, list[Path]]:
    """Return the safetensors files that each network of a model is loaded from; of a single file, that one for all but
    a VAE that lies beside it.
    """
    if isinstance(folder, Checkpoint):
        beside = [] if folder.vae is None else [folder.vae / name for name in VAE_WEIGHTS]
        own_vae = [file for file in beside if file.is_file()][:1] or [folder.path]
        return {part: own_vae if part == "vae" else [folder.path] for part in NETWORKS}
    return {
        part: [
            file
            for file in sorted((folder.path / part).glob("*.safetensors"))
            if (f".{folder.variants[part]}." in file.name if folder.variants[part] else ".fp16." not in file.name)
        ]
        for part in NETWORKS
    }


def settings_files(folder: OnDisk) -> list[Path]:
    """Return the configurations that are read with the weights; those of a single file were read when it was found."""
    if isinstance(folder, Checkpoint):
        return [] if folder.vae is None else [folder.vae / "config.json"]
    return [folder.path / part / "config.json" for part in NETWORKS]


def hashed_parts(folder: OnDisk) -> Mapping[str, list[Path]]:
    """Return the files whose hashes stand for the model (UNet and text encoders) and for its VAE."""
    files = weight_files(folder)
    return {
        "model": [file for part in NETWORKS if part != "vae" for file in files[part]],
        "vae": files["vae"],
    }


def hashes_here(
    models: ModelFolders | Models, find: FindAdapter, hashes: FileHashes, model: str, adapters: Collection[str]
) -> dict[str, str]:
    """Return the hashes of a model, its VAE and of adapters: `model`, `vae`, `loras.<id>`; without what is not there.

    Files that nobody has hashed yet are read whole: this may block for long.
    """
    try:
        files = dict(hashed_parts(models.find(model)))
    except BrokenModel:
        files = {}  # whoever asks will be told why by the job
    for name in adapters:
        path = find(name)
        if path is not None:
            files[f"loras.{name}"] = files_of_adapter(path)
    found = {name: hashes.of_all(paths) for name, paths in files.items()}
    return {name: digest for name, digest in found.items() if digest is not None}


def by_stem(root: Path) -> FindAdapter:
    """Return what finds `<id>.safetensors`, or a folder `<id>` as PEFT saves it, among the adapters of a folder."""

    def find(name: str) -> Path | None:
        folder = root / ADAPTERS / name
        if not name or folder.name != name or folder.parent != root / ADAPTERS:
            return None
        path = folder.with_name(f"{name}.safetensors")
        return path if path.exists() else folder if is_peft_folder(folder) else None

    return find
