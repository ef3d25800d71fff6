"""Whether a CUDA device could be had, asked without importing torch. Chooses nothing: `sdxl_loading` does."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

DeviceWish = Literal["auto", "cpu", "cuda"]  # what MINIMON_DEVICE may hold
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

ON_CPU: Final[Mapping[str, str]] = {"device": "cpu", "dtype": "float32"}
NOT_KNOWN: Final[Mapping[str, str]] = {}


class DeviceHere:
    """What computes here, by the names under which a picture tells it. Any thread may ask; the engine tells it once."""

    def __init__(self, wish: DeviceWish) -> None:
        self._wish = wish
        self._known: Mapping[str, str] | None = None

    def learn(self, device: str, dtype: str) -> None:
        """Remember what the engine has chosen."""
        self._known = {"device": device, "dtype": dtype}

    def told(self) -> Mapping[str, str]:
        """Return `device` and `dtype`; nothing of a CUDA device before the engine chose it.

        It may block for as long as a driver takes to answer.
        """
        if self._known is not None:
            return self._known
        return ON_CPU if self._wish == "cpu" or cuda_problem() is not None else NOT_KNOWN


def cuda_problem() -> str | None:
    """Return why CUDA cannot be used here, or None when driver, device and torch's build are all there."""
    return _build_problem() or _driver_problem(DRIVER)


def _build_problem() -> str | None:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "torch is not installed"
    version = Path(spec.origin).with_name("version.py")
    if version.is_file() and re.search(r"^cuda\b.*= *None", version.read_text("utf-8"), re.MULTILINE):
        return "this build of torch has no CUDA"
    return None


def _driver_problem(library: str) -> str | None:
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return "there is no NVIDIA driver"
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver finds no device"
    return None
