"""Decides whether the artist's tests can run: skia needs two libraries that a slim Debian lacks. CI must have them."""

from __future__ import annotations

import os

NEED_SKIA = [
    "test_artist.py",
    "test_tiny_critic.py",
    "test_tiny_pictures.py",
    "test_tiny_training.py",
    "test_tiny_workshop.py",
]

collect_ignore: list[str] = []
_reason = ""

try:
    import skia  # noqa: F401 - only whether it loads matters here
except ImportError as error:
    if os.environ.get("CI") == "true":
        raise
    collect_ignore += NEED_SKIA
    _reason = f"the tests of what draws are SKIPPED: {error} (on Debian: apt install libgl1 libegl1)"


def pytest_report_header() -> str | None:
    """Say at the top of the run what is left out, and what would bring it back."""
    return _reason or None
