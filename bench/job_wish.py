"""What all draw in the measurements of jobs: one prompt, one size, so many steps. Measures nothing."""

from __future__ import annotations

from typing import Any

MODEL = "small"
SIDE = 64  # pixels
STEPS = 12
BATCH = 8  # pictures in one call, where calls have several


def wish(seed: int, steps: int = STEPS) -> dict[str, Any]:
    """Return the body of `POST /generate` for one picture; nothing is left to a default."""
    return {
        "prompt": "a small lighthouse under two moons",
        "width": SIDE,
        "height": SIDE,
        "steps": steps,
        "guidance_scale": 5.0,
        "seed": seed,
    }
