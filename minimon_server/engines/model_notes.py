"""What a model's folder says of itself in `minimon.json`: name, licence, the steps, guidance and size it was made for.

Nobody has to write one: it is for models whose scheduler does not give them away. What stands in it is checked, and a
file that is wrong is told like any other part that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FILE: Final = "minimon.json"
LONGEST_NAME: Final = 80
MOST_STEPS: Final = 150
MOST_GUIDANCE: Final = 50.0
# The sides in pixels that a request may ask for, too.
SMALLEST_SIDE: Final = 64
LARGEST_SIDE: Final = 2048
KNOWN: Final = ("name", "licence", "steps", "guidance_scale", "native_size")


@dataclass(frozen=True, slots=True)
class ModelNotes:
    """What the file says; None where it says nothing."""

    name: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    native_size: int | None = None
    licence: str | None = None

    def pace(self, steps: int, guidance: float) -> tuple[int, float]:
        """Return steps and guidance, the given ones where the file says nothing."""
        return (
            steps if self.steps is None else self.steps,
            guidance if self.guidance_scale is None else self.guidance_scale,
        )


def read_notes(found: Mapping[str, Any]) -> ModelNotes:
    """Return the notes of a parsed file; raise ValueError with what is wrong in it."""
    unknown = sorted(set(found) - set(KNOWN))
    if unknown:
        raise ValueError(f"{FILE} says {unknown[0][:LONGEST_NAME]!r}, which nobody knows")
    steps = found.get("steps")
    if steps is not None and (type(steps) is not int or not 1 <= steps <= MOST_STEPS):
        raise ValueError(f"steps in {FILE} is not a whole number from 1 to {MOST_STEPS}")
    guidance = found.get("guidance_scale")
    if guidance is not None and (type(guidance) not in (int, float) or not 0 <= guidance <= MOST_GUIDANCE):
        raise ValueError(f"guidance_scale in {FILE} is not a number from 0 to {MOST_GUIDANCE:g}")
    side = found.get("native_size")
    if side is not None and (type(side) is not int or side % 8 or not SMALLEST_SIDE <= side <= LARGEST_SIDE):
        raise ValueError(f"native_size in {FILE} is not a multiple of 8 from {SMALLEST_SIDE} to {LARGEST_SIDE}")
    name, licence = (_line(found, member) for member in ("name", "licence"))
    return ModelNotes(name, steps, None if guidance is None else float(guidance), side, licence)


def _line(found: Mapping[str, Any], member: str) -> str | None:
    text = found.get(member)
    if text is not None and not (isinstance(text, str) and 0 < len(text) <= LONGEST_NAME and text.isprintable()):
        raise ValueError(f"{member} in {FILE} is not a line of 1 to {LONGEST_NAME} characters")
    return text
