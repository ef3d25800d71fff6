"""The whole recipe, so small that all of it runs in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tools.tiny.recipe import AutoencoderShape, PainterShape, Plan, Recipe


def plan(steps: int = 4) -> Plan:
    """Return a plan of a few steps."""
    return Plan(steps=steps, batch=4, rate=1e-3, warmup=2, cooldown=2, average=0.9, log_every=1)


SMALL: Final = Recipe(
    drawn=64,
    pictures=8,
    per_file=4,
    autoencoder_shape=AutoencoderShape(widths=(8, 16), latent_channels=4, groups=4),
    autoencoder=plan(),
    whole_from=2,
    painter_shape=PainterShape(widths=(32, 32), first_words=32, second_words=32, pooled=32, latent_channels=4),
    reader=plan(),
    critic=plan(3),
    painter=plan(),
    finest=8,
    enlarger=plan(3),
    classifier=plan(3),
    adapter=replace(plan(3), muon=False),
    styled=4,
)


def of_length(steps: int) -> Recipe:
    """Return the small recipe with UNet and autoencoder trained for so many steps of the same schedule."""
    whole = replace(plan(), steps=steps, cooldown=0)
    return replace(SMALL, autoencoder=whole, painter=whole)
