"""Which errors say that a CUDA context is lost: whatever this process asks of the device afterwards fails, too.

The names are those of the CUDA runtime that end with "the process must be terminated and relaunched" (CUDA Runtime
API, "Data types used by CUDA Runtime", cudaError), in the words of cudaGetErrorString.
"""

from __future__ import annotations

from typing import Final

import torch

_STICKY: Final = (
    "illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "ECC error",
    "misaligned address",
    "illegal instruction",
    "hardware stack error",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "the launch timed out",
    "context is destroyed",
    "contained in device",  # "…Nvlink error…", "…the error is contained…" of later runtimes
    "GPU is lost",
    "unknown error",
)


def is_lost(error: BaseException, device: torch.device | None) -> bool:
    """Whether an error says so, or the device does when it is asked: it answers no call after such an error."""
    if not isinstance(error, RuntimeError):
        return False
    said = str(error)
    if ("CUDA error" in said or isinstance(error, torch.AcceleratorError)) and any(one in said for one in _STICKY):
        return True
    return device is not None and device.type == "cuda" and not _answers(device)


def _answers(device: torch.device) -> bool:
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
