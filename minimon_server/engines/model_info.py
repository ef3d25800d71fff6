"""What a client may know of a model: plain data. Knows nothing of folders or weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model that can be asked for, and what a request that leaves these out gets."""

    id: str
    name: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    supported_loras: tuple[str, ...] = ()
    clip_layers: int | None = None  # the largest `clip_skip`; None: not known before it is loaded
