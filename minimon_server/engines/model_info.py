"""What a client may know of a model or a LoRA: plain data. Knows nothing of folders or weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from minimon_server.errors import Text

# What the engine can draw with today, by the networks of LoRAs that the catalogue knows.
APPLIED_NETWORKS: Final[frozenset[str]] = frozenset({"lora", "locon", "dora", "loha", "lokr", "full", "mixed"})


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model that can be asked for, and what a request that leaves these out gets.

    `schedulers` are the names that it can be drawn with; None: all that the engine knows.
    `most_steps` are the names that take no more steps than that, None being the model's own scheduler.
    `width` and `height` are pixels; `scheduler` and `clip_skip` are None where the model's own are meant. `prediction`
    is "epsilon", "v", or "" where nothing tells. `unavailable` says why it cannot be drawn with now, `how` what would
    change that. `native_size` is the side in pixels at which all its pictures are drawn, then resampled to the size
    that is asked for; None: it draws any size. `latents` are the channels of its latents and the pixels a side that one
    becomes; None: not known before it is loaded.
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
    most_steps: tuple[tuple[str | None, int], ...] = ()
    scheduler: str | None = None
    clip_skip: int | None = None
    prompt_prefix: str = ""
    negative_prefix: str = ""
    kind: str = "diffusers"
    base: str = "unknown"
    prediction: str = ""
    licence: str = ""
    pinned: bool = False
    unavailable: Text | None = None
    how: Text | None = None
    native_size: int | None = None
    latents: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LoraInfo:
    """One LoRA or one of its kin, and the weight it gets where a request names none."""

    id: str
    name: str
    default_weight: float = 1.0
    trigger_words: tuple[str, ...] | None = None
    base: str = "unknown"
    network: str = "unknown"
    licence: str = ""
    pinned: bool = False
    unavailable: Text | None = None
    how: Text | None = None


@dataclass(frozen=True, slots=True)
class IpAdapterInfo:
    """One IP-Adapter; `variant` is plain, plus or full, by its tensors, and empty where it is not there."""

    id: str
    name: str
    base: str = "unknown"
    variant: str = ""
    licence: str = ""
    pinned: bool = False
    unavailable: Text | None = None
    how: Text | None = None
