"""Every scheduler as a parameter of a test: each family always, all spacings of its sigmas in `make torture` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from minimon_server.engines.schedulers import SCHEDULERS

# A spacing says where the sigmas lie, and a family what is made of them: these two families show every spacing.
SHOWING_SPACINGS = ("euler", "dpmpp_2m_sde")
SPACINGS = ("_karras", "_exponential", "_beta")


def parameters(*first: str | None, of: Sequence[str] = SCHEDULERS) -> list[Any]:
    """Return `first` and the names of schedulers, most of those with a spacing marked as torture."""
    return [*first, *(name if _always(name) else pytest.param(name, marks=pytest.mark.torture) for name in of)]


def _always(name: str) -> bool:
    return not name.endswith(SPACINGS) or name.rpartition("_")[0] in SHOWING_SPACINGS
