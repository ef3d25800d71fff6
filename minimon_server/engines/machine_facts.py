"""What this machine has for drawing fast, found without importing torch. Chooses nothing: `acceleration` does."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from minimon_server.engines.devices import DRIVER, DeviceWish, cuda_problem

# A module to look for, and the distribution that brings it.
PACKAGES: Final = {
    "torchao": "torchao",
    "xformers": "xformers",
    "flash_attn": "flash-attn",
    "flash_attn_interface": "flash-attn-3",
    "triton": "triton",
}
C_COMPILERS: Final = ("gcc", "cc", "clang")  # triton builds its launchers with one of these, found on the path
CXX_COMPILERS: Final = ("g++", "clang++", "c++")  # torch's inductor builds its kernels for a CPU with one of these
# CUdevice_attribute of cuda.h: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html
_CAPABILITY_MAJOR: Final = 75
_CAPABILITY_MINOR: Final = 76


@dataclass(frozen=True, slots=True)
class Machine:
    """One device and what stands around it.

    `capability` is CUDA's compute capability, such as (9, 0); `memory` are the device's bytes, `cuda` the version that
    torch was built for; None where that cannot be told, or there is none. `packages` are those of `PACKAGES` that are
    installed, with their versions.
    """

    device: Literal["cpu", "cuda"]
    capability: tuple[int, int] | None = None
    memory: int | None = None
    cuda: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    c_compiler: str | None = None
    cxx_compiler: str | None = None
    python_headers: bool = True  # what triton and inductor build includes Python.h


def this_machine(wish: DeviceWish) -> Machine:
    """Return what is here, for the device that `wish` leads to; quick, and nothing of it is imported."""
    cuda = wish != "cpu" and cuda_problem() is None
    capability, memory = _card(DRIVER) if cuda else (None, None)
    return Machine(
        "cuda" if cuda else "cpu",
        capability,
        memory,
        _cuda_of_torch() if cuda else None,
        {module: _version(name) for module, name in PACKAGES.items() if importlib.util.find_spec(module)},
        _first_of(C_COMPILERS),
        _first_of(CXX_COMPILERS),
        Path(sysconfig.get_path("include"), "Python.h").is_file(),
    )


def _card(library: str) -> tuple[tuple[int, int] | None, int | None]:
    """Return compute capability and bytes of the first card; the driver is there, for `cuda_problem` found none."""
    driver = ctypes.CDLL(library)
    device = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None, None
    found = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int(0)
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return None, None
        found.append(value.value)
    size = ctypes.c_size_t(0)
    failed = driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    return (found[0], found[1]), None if failed else size.value


def _cuda_of_torch() -> str | None:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name("version.py")
    found = re.search(r"^cuda\b.*= *'([\d.]+)'", file.read_text("utf-8"), re.MULTILINE) if file.is_file() else None
    return found[1] if found else None


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "?"  # built by hand, as FlashAttention 3 often is


def _first_of(programs: tuple[str, ...]) -> str | None:
    return next((found for program in programs if (found := shutil.which(program))), None)
