"""The sizes of everything that is trained: pictures, networks, plans. Plain numbers; computes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast a training goes. The rate climbs, stays, and falls over the last `cooldown` steps."""

    steps: int
    batch: int
    rate: float
    warmup: int = 100
    cooldown: int = 0
    average: float = 0.999
    seed: int = 1
    muon: bool = True
    log_every: int = 50
    save_seconds: float = 240.0

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step; raising `steps` later brings a fallen rate back up."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        left = (self.steps - step) / max(self.cooldown, 1)
        return self.rate * rising * max(0.01, min(1.0, left))


@dataclass(frozen=True, slots=True)
class AutoencoderShape:
    """Widths from the finest level to the coarsest; each level but the last halves the side."""

    widths: tuple[int, ...] = (24, 48, 96, 160)
    latent_channels: int = 16
    groups: int = 8

    @property
    def factor(self) -> int:
        """Pixels a side to one latent."""
        return 1 << (len(self.widths) - 1)


@dataclass(frozen=True, slots=True)
class PainterShape:
    """Widths of the UNet from fine to coarse, and of the text encoders."""

    widths: tuple[int, ...] = (112, 144)
    transformers: int = 1
    first_words: int = 64
    second_words: int = 128
    pooled: int = 128
    latent_channels: int = 16


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what comes out."""

    # Pictures are drawn at `drawn` pixels a side; the latents are made of them at half of that.
    drawn: int = 256
    pictures: int = 30_000
    per_file: int = 500
    autoencoder_shape: AutoencoderShape = field(default_factory=AutoencoderShape)
    # On squares of half a picture's side first, on whole pictures from `whole_from` on.
    autoencoder: Plan = field(default_factory=lambda: Plan(steps=1_300, batch=12, rate=3e-3, cooldown=450))
    whole_from: int = 1_000
    # Once the latents are known: a finer level around the autoencoder, for pictures at the side they are drawn at.
    finest: int = 16
    enlarger: Plan = field(default_factory=lambda: Plan(steps=2_400, batch=8, rate=2e-3, cooldown=1_000))
    painter_shape: PainterShape = field(default_factory=PainterShape)
    reader: Plan = field(default_factory=lambda: Plan(steps=3_000, batch=64, rate=2e-3, cooldown=1_000))
    critic: Plan = field(default_factory=lambda: Plan(steps=3_000, batch=64, rate=2e-3, cooldown=1_500))
    painter: Plan = field(default_factory=lambda: Plan(steps=20_000, batch=64, rate=2e-3, cooldown=4_000))
    # Each of the adapters, upon the finished UNet; on so many pictures given its style.
    adapter: Plan = field(
        default_factory=lambda: Plan(steps=300, batch=32, rate=3e-3, warmup=20, cooldown=150, average=0.98, muon=False)
    )
    styled: int = 1_500
    classifier: Plan = field(default_factory=lambda: Plan(steps=3_000, batch=32, rate=2e-3, cooldown=1_500))

    @property
    def side(self) -> int:
        """Pixels a side of the pictures that latents are made of."""
        return self.drawn // 2

    def with_painter(self, steps: int | None, cooldown: int | None, batch: int | None) -> Recipe:
        """Return the same recipe with another length or width of the UNet's training."""
        wishes = {"steps": steps, "cooldown": cooldown, "batch": batch}
        given: dict[str, Any] = {name: value for name, value in wishes.items() if value is not None}
        return replace(self, painter=replace(self.painter, **given))
