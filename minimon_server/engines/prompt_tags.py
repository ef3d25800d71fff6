"""The tags that stand in a prompt for something other than words: `<lora:name:0.8>` and its kin. Loads nothing.

The form is that of `extra_networks.parse_prompt` in AUTOMATIC1111/stable-diffusion-webui 1.10. A tag of another kind,
which is dropped there, is words here. In the negative prompt tags are words, as they are there.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

# No "<" inside: so a text of many beginnings is read once.
_TAG: Final = re.compile(r"<(lora|lyco|hypernet):([^<>]+)>", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag as it is written; its kind, in small letters; and its weight, None where it does not say a single one."""

    written: str
    kind: str
    name: str
    weight: float | None


def tags(prompt: str) -> tuple[Tag, ...]:
    """Return the tags of a prompt in their order. Never raises.

    `<lora:name>` weighs 1. Two weights, of the text encoders and of the UNet, are one where they are equal.
    """
    return tuple(_tag(match) for match in _TAG.finditer(prompt))


def without_tags(prompt: str) -> str:
    """Return the words of a prompt, as they stand around its tags."""
    return _TAG.sub("", prompt)


def _tag(match: re.Match[str]) -> Tag:
    name, *said = match[2].split(":")
    weights = {_number(one.removeprefix(label)) for one, label in zip(said, ("te=", "unet="), strict=False)}
    weight = 1.0 if not said else weights.pop() if len(weights) == 1 and len(said) <= 2 else None
    return Tag(match[0], match[1].lower(), name.strip(), weight)


def _number(written: str) -> float | None:
    number = float(written) if _NUMBER.fullmatch(written) else math.nan
    return number if math.isfinite(number) else None
