"""Why a model or a LoRA cannot be used, and what would change that, in both languages. Looks at nothing."""

from __future__ import annotations

from typing import Final

from minimon_server.catalog.entries import LoraEntry, ModelEntry, PartEntry
from minimon_server.errors import Text

MISSING: Final = Text("n'est pas sur le disque", "is not on the disk")
LOCAL: Final = Text(
    "rien ne le télécharge, il est livré avec le serveur ou il est à vous",
    "nothing fetches it, it ships with the server or is your own",
)
NOWHERE: Final = Text("le catalogue ne sait pas d'où il vient", "the catalogue does not know where it comes from")


def unusable(problem: str) -> Text:
    """Return what is said of files that are there and cannot be used; `problem` is in English, as in the log."""
    return Text(f"ne peut pas être utilisé : {problem}", f"cannot be used: {problem}")


def not_applied(network: str) -> Text:
    """Return what is said of an adapter of a kind that the engine does not know."""
    return Text(
        f"est là, mais ce serveur n'applique pas les réseaux {network}",
        f"is there, but this server applies no networks of the kind {network}",
    )


def other_base(base: str) -> Text:
    """Return what is said of a model that is no SDXL."""
    return Text(
        f"est un modèle {base} ; ce serveur dessine avec SDXL", f"is a {base} model; this server draws with SDXL"
    )


def no_vae(name: str) -> Text:
    """Return what is said of a single file without a VAE, where nobody named one."""
    place = f"models/checkpoints/{name}/vae/"
    return Text(
        f"ne contient pas de VAE : nommez-en un (vae) dans le catalogue, ou mettez-en un sous {place}",
        f"holds no VAE: name one (vae) in the catalogue, or put one into {place}",
    )


def missing_vae(part: str) -> Text:
    """Return what is said of a single file whose VAE is not here; what is in the file may be drawn with instead."""
    return Text(
        f"est dessiné avec le VAE {part}, qui n'est pas sur le disque ; sans vae dans le catalogue, "
        "celui du fichier serait pris",
        f"is drawn with the VAE {part}, which is not on the disk; without vae in the catalogue, that of the file "
        "would be taken",
    )


def bases_differ(said: str, found: str) -> Text:
    """Return what is said of a file that is not what the catalogue says."""
    return Text(
        f"est fait pour {found} d'après ses tenseurs, pour {said} d'après le catalogue",
        f"is for {found} by its tensors, for {said} by the catalogue",
    )


def how_to_get(entry: ModelEntry | LoraEntry | PartEntry) -> Text:
    """Return what brings a missing one here: a command, or where to put it."""
    if entry.source.is_known:
        option = {LoraEntry: "lora", PartEntry: "part"}.get(type(entry), "model")
        command = f"python download_models.py --{option} {entry.id}"
        return Text(command, command)
    is_folder = isinstance(entry, PartEntry) or (isinstance(entry, ModelEntry) and entry.kind == "diffusers")
    what = ("le dossier", "the folder") if is_folder else None
    fr, en = what or ("le fichier", "the file")
    why = LOCAL if entry.source.local else NOWHERE
    return Text(f"{why.fr} : mettez {fr} sous models/{entry.place}", f"{why.en}: put {en} at models/{entry.place}")
