"""What is put before and after a prompt: the words a model wants, the trigger words of its LoRAs. Knows no request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from minimon_server.engines.prompt_tags import without_tags


def prefixed(prompt: str, prefix: str) -> str:
    """Return a prompt with the words that a model wants before it, unless it begins with the first of them already."""
    first = prefix.split(",", 1)[0].strip()
    if not first or prompt.lstrip().startswith(first):
        return prompt
    return f"{prefix.rstrip(', ')}, {prompt}" if prompt else prefix


def triggered(prompt: str, words: Sequence[str], *, add: bool) -> tuple[str, tuple[str, ...]]:
    """Return a prompt and those of the trigger words that stand in it, each once.

    With `add` those that are missing are put at its end, in their order, after commas. A word stands in a prompt
    whatever its capitals are, but not within another word, nor in a tag such as `<lora:name:1>`.
    """
    wanted = list(dict.fromkeys(word for word in words if word))
    spoken = without_tags(prompt)
    missing = [word for word in wanted if not _stands(word, spoken)]
    if add and missing:
        return ", ".join([prompt.rstrip(", "), *missing]), tuple(wanted)
    return prompt, tuple(word for word in wanted if word not in missing)


def _stands(word: str, prompt: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", prompt, re.IGNORECASE) is not None
