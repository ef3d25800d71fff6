"""What is told of a model in one file: what it is, what lies beside it, what the catalogue says. Loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from minimon_server.catalog import words
from minimon_server.catalog.checkpoint_kinds import CheckpointKind
from minimon_server.catalog.dropped import Dropped
from minimon_server.catalog.entries import PartEntry
from minimon_server.catalog.kept import KeptCatalogue
from minimon_server.engines.checkpoint_files import CHECKPOINTS, Catalogued, read_checkpoint
from minimon_server.engines.checkpoint_shapes import scheduler_settings
from minimon_server.engines.model_folders import ZERO_SNR_RESCALE, BrokenModel, pace_of
from minimon_server.engines.model_info import ModelInfo
from minimon_server.engines.schedulers import SCHEDULERS, has_zero_snr, most_steps, offered
from minimon_server.errors import Text

# The sides in pixels that the families were trained on, where neither catalogue nor folder says.
SIDES: Final = {"sd15": 512, "sd21": 768}
USUAL_SIDE: Final = 1024


def said_in(kept: KeptCatalogue) -> Callable[[str], Catalogued | None]:
    """Return what tells the kind and the VAE of a model that the catalogue knows now."""

    def said(model: str) -> Catalogued | None:
        entry = next((entry for entry in kept.now().model if entry.id == model), None)
        return Catalogued(entry.kind, entry.vae) if entry else None

    return said


def told_of_file(
    info: ModelInfo, found: Dropped[CheckpointKind], root: Path, vae: PartEntry | None = None
) -> ModelInfo:
    """Return the model of a single file that was read; `vae` is the part that it is drawn with, None where it is its
    own.
    """
    kind = found.kind
    side = SIDES.get(kind.base, USUAL_SIDE)
    info = replace(info, width=side, height=side, base=kind.base, prediction=kind.prediction)
    why = _why_not(kind)
    if why is not None:
        return replace(info, unavailable=why)
    if vae is not None and not (root / vae.place).is_dir():
        return replace(info, unavailable=words.missing_vae(vae.id), how=words.how_to_get(vae))
    try:
        model = read_checkpoint(root, root / CHECKPOINTS / found.file, vae.id if vae else "")
    except BrokenModel as error:
        return replace(info, unavailable=words.unusable(str(error)))
    settings = model.scheduler or scheduler_settings(kind.prediction, kind.zero_snr)
    steps, guidance = model.notes.pace(*pace_of(settings))
    names = tuple(offered(settings))
    return replace(
        info,
        name=model.notes.name or info.name,
        width=model.native_size or side,
        height=model.native_size or side,
        licence=model.notes.licence or info.licence,
        native_size=model.native_size,
        steps=steps,
        guidance_scale=guidance,
        guidance_rescale=ZERO_SNR_RESCALE if has_zero_snr(settings) else 0.0,
        schedulers=None if names == SCHEDULERS else names,
        most_steps=most_steps(settings),
        clip_layers=kind.layers,
        unavailable=None if kind.has_vae or model.vae else words.no_vae(info.id),
    )


def _why_not(kind: CheckpointKind) -> Text | None:
    if kind.inpainting:
        return words.other_base("sdxl-inpainting")
    if kind.is_other_family:
        return words.other_base(kind.base)
    return words.unusable(kind.problem) if kind.problem else None
