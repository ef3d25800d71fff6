"""What memory a request needs at the least, what is free, and what an error says of it. Draws nothing.

The estimate is a floor: what lies above it is known not to fit, and is not begun; what lies below may still run out of
memory, and the ladder takes over. So nothing is refused, tiled or sliced that would have run as it is.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from minimon_server.engines import system_memory
from minimon_server.engines.checkpoint_files import FLOATS, Checkpoint, OnDisk, weights_of
from minimon_server.engines.model_folders import NETWORKS
from minimon_server.engines.network_tensors import numbers_of
from minimon_server.engines.quantised_weights import held_bytes
from minimon_server.engines.sdxl_loading import Place

MEBI: Final = 2**20
# Tensors of the widest size that live at once, at the least. Decoding: the input of the first block at full size, its
# norm and its activation, all three needed together (diffusers' ResnetBlock2D). Drawing: the skip connections and one
# feed-forward network. Calibrated with tests/engines/test_sdxl_memory.py on the CPU: what torch's profiler saw
# allocated at the peak was 3.8 to 4.0 such tensors decoding (256 and 512 pixels a side, float32 and bfloat16, 64 and
# 128 channels), and 16 to 18.4 drawing (512 and 1024 pixels, 160 and 320 channels, one and two rows).
DECODING_TENSORS: Final = 3
DRAWING_TENSORS: Final = 10
# What a dtype takes, by its name in a safetensors file: https://huggingface.co/docs/safetensors (metadata parsing).
FILE_DTYPES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
LARGEST_HEAD: Final = 100_000_000  # bytes, as the format has it


def pixels_of_a_latent(vae: Any) -> int:
    """Return how many pixels a side one latent becomes."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def drawing_floor(unet: Any, latents: int, rows: int) -> int:
    """Return the bytes that one evaluation of the UNet takes at the least, for `rows` of so many latents."""
    return int(DRAWING_TENSORS * rows * latents * unet.config.block_out_channels[0] * numbers_of(unet).itemsize)


def decoding_floor(vae: Any, width: int, height: int) -> int:
    """Return the bytes that decoding so many pixels at once takes at the least."""
    widest = max(vae.config.block_out_channels[:2])  # the last block takes what the one before gives, at full size
    return int(DECODING_TENSORS * width * height * widest * numbers_of(vae).itemsize)


def loading_floor(folder: OnDisk, place: Place) -> int:
    """Return the bytes that loading takes at the least, by what the heads of the weight files say.

    On the CPU, weights that lie in the file as they are wanted are mapped and take nothing that is not given back.
    """
    wanted = place.dtype.itemsize
    mapped = wanted if place.device.type == "cpu" else 0
    return sum(count * wanted for width, count in _numbers(folder) if width != mapped)


def weights_bytes(folder: OnDisk, place: Place) -> int:
    """Return the bytes of all weights of a model in the numbers of `place`, mapped ones too, as the heads tell."""
    return sum(count * place.dtype.itemsize for _, count in _numbers(folder))


def _numbers(folder: OnDisk) -> Iterator[tuple[int, int]]:
    """Yield the width in bytes and the count of the numbers of each weight."""
    if isinstance(folder, Checkpoint):
        yield from ((FLOATS[dtype], count) for dtype, count in weights_of(folder))
        return
    for part in NETWORKS:
        for file in (folder.path / part).glob("*.safetensors"):
            yield from ((FILE_DTYPES[dtype], count) for dtype, count in _weights(file, folder.variants[part]))


def reference_floor(files: Sequence[Path], place: Place) -> int:
    """Return the bytes that an IP-Adapter takes at the least: `files` are its weights and those of its image encoder.

    On a device one of them is there at a time, for either rests in main memory while the other computes; on the CPU
    they are there together, but what lies in the file as it is wanted is mapped.
    """
    wanted, on_cpu = place.dtype.itemsize, place.device.type == "cpu"
    sizes = [
        sum(count * wanted for dtype, count in _told(file) if not on_cpu or FILE_DTYPES[dtype] != wanted)
        for file in files
    ]
    return sum(sizes) if on_cpu else max(sizes, default=0)


def _weights(file: Path, variant: str | None) -> list[tuple[str, int]]:
    """Return dtype and count of the numbers of each floating weight; nothing for a file that is not the chosen one."""
    if (variant or "fp16" in file.name) and f".{variant}." not in file.name:
        return []
    return _told(file)


def _told(file: Path) -> list[tuple[str, int]]:
    """Return dtype and count of the numbers of each floating weight in a file."""
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            head = json.loads(opened.read(min(size, LARGEST_HEAD)))
        told = [entry for name, entry in head.items() if name != "__metadata__"]
        return [(entry["dtype"], math.prod(entry["shape"])) for entry in told if entry["dtype"] in FILE_DTYPES]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # it needs nothing that is known, and whoever loads it will say what is wrong with it


def free_bytes(place: Place) -> int | None:
    """Return what is free where `place` computes, torch's own cache included; None where nobody can tell.

    At the most: idle memory of the graphs' pool counts, too, which nothing but graphs can use until they are dropped.
    """
    if place.device.type != "cuda":
        return system_memory.free_bytes()
    free, _ = torch.cuda.mem_get_info(place.device)
    cached = torch.cuda.memory_reserved(place.device) - torch.cuda.memory_allocated(place.device)
    return int(free + cached)


def parts_bytes(parts: list[Any]) -> int:
    """Return what the weights of networks take."""
    return sum(held_bytes(value) for part in parts for value in (*part.parameters(), *part.buffers()))


def give_memory_back() -> None:
    """Collect what nobody holds any more, and give what the allocators keep of it to the system and the device."""
    gc.collect()
    system_memory.trim_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# What the libraries say when they could not get memory and have no class of error for it: the CPU's allocator, C++,
# the CUDA runtime outside of torch's allocator, cuBLAS and cuDNN for their workspaces.
_SAID: Final = (
    "DefaultCPUAllocator",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


# What torch raises while it compiles wraps what happened: one within the other, no more than these.
_DEEPEST: Final = 8
_COMPILERS: Final = ("torch._dynamo.", "torch._inductor.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, by itself or by what a compiler's error wraps."""
    found: BaseException | None = error
    for _ in range(_DEEPEST):
        if found is None:
            return False
        if isinstance(found, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(found, RuntimeError) and any(said in str(found) for said in _SAID):
            return True
        found = _wrapped(found)
    return False


def _wrapped(error: BaseException) -> BaseException | None:
    """Return what an error of torch's compilers was raised for; what anybody else's came from is no part of it."""
    if not type(error).__module__.startswith(_COMPILERS):
        return None
    # `inner_exception`: BackendCompilerFailed and InductorError, which are raised `from None` (torch 2.13).
    inner = getattr(error, "inner_exception", None)
    return inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
