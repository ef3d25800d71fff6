"""What a client may know of a model: plain data. Knows nothing of folders or weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model that can be asked for, and what a request that leaves these out gets.

    `schedulers` are the names that it can be drawn with; None: all that the engine knows.
    """

    id: str
    name: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    supported_loras: tuple[str, ...] = ()
    clip_layers: int | None = None  # the largest `clip_skip`; None: not known before it is loaded
    guidance_rescale: float = 0.0
    schedulers: tuple[str, ...] | None = None
