"""Networks between a device and main memory: to the last bit, pinned where the device is a GPU. Decides nothing.

Pinned copies and copies that do not wait are plain torch, and not yet measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from minimon_server.engines.captured_graphs import drop_graphs
from minimon_server.engines.network_tensors import tensors_of

# Tensors are laid into blocks of this size. torch's allocator of pinned memory rounds a block up to a power of two,
# and keeps blocks that were freed for the next: blocks of one size waste nothing, and two models that alternate pin no
# page twice.
BLOCK_BYTES: Final = 256 * 2**20
ALIGNMENT: Final = 64  # bytes; a tensor may begin at any multiple of its own numbers, and whole cache lines copy faster


def to_host(network: torch.nn.Module) -> None:
    """Move a network to main memory, pinned if it is on a GPU; where that fails, its weights are where they were.

    One with quantised weights is moved as torch moves it, unpinned: such a weight is several tensors in one.
    """
    if any(is_traceable_wrapper_subclass(one) for one in network.parameters()):
        moved(network, torch.device("cpu"))
        return
    drop_graphs(network)  # and their memory on the device
    tensors = list({id(one): one for one in (*network.parameters(), *network.buffers())}.values())
    with outside_inference():
        places = copies(tensors, pin=any(one.is_cuda for one in tensors))
        if any(one.is_cuda for one in tensors):
            torch.cuda.synchronize()  # nothing is freed on the device before all of it has arrived
        network._apply(lambda tensor: places[id(tensor)])  # type: ignore[no-untyped-call] # what `to` is made of


def copies(tensors: list[torch.Tensor], *, pin: bool) -> dict[int, torch.Tensor]:
    """Return a copy of each tensor in main memory, by its id; raise where there is no room. Waits for no GPU."""
    places = _places(tensors, pin=pin)
    for tensor in tensors:
        places[id(tensor)].copy_(tensor.detach(), non_blocking=True)
    return places


def pinned_bytes(size: int) -> int:
    """Return what copies of so many bytes take when they are pinned: torch's allocator rounds a block up, see above."""
    whole, rest = divmod(size, BLOCK_BYTES)
    return whole * BLOCK_BYTES + (1 << (rest - 1).bit_length() if rest else 0)


def give_pinned_memory_back() -> None:
    """Give the system the pinned blocks that nobody uses; the next ones take their time again."""
    if torch.cuda.is_available():
        torch.accelerator.empty_host_cache()


def to_device(network: torch.nn.Module, device: torch.device) -> bool:
    """Move a network to the device; return whether it was elsewhere.

    Copies from pinned memory do not wait: what is computed next is queued behind them.
    """
    if all(one.type == device.type for one in {tensor.device for tensor in tensors_of(network)}):
        return False
    moved(network, device, non_blocking=True)
    return True


def moved(network: torch.nn.Module, device: torch.device, *, non_blocking: bool = False) -> None:
    """Move a network; exact: numbers stay as they are."""
    drop_graphs(network)
    with outside_inference():
        network.to(device, non_blocking=non_blocking)


@contextmanager
def outside_inference() -> Iterator[None]:
    """Make weights outside of inference mode, in which pictures are drawn; no gradients either.

    Those that are made in it have other dispatch keys: dynamo compares the keys, and would compile every block anew,
    and quantised weights could not even be moved.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


def move(pipeline: Any, parts: Iterable[str], device: torch.device) -> None:
    """Move networks of a pipeline, by name, to a device; exact: numbers stay as they are."""
    for part in parts:
        moved(getattr(pipeline, part), device)


def _places(tensors: list[torch.Tensor], *, pin: bool) -> dict[int, torch.Tensor]:
    """Return room for each tensor, by its id: all there or none, for it raises before anything was copied."""
    found: dict[int, torch.Tensor] = {}
    left = sum(_aligned(one.nbytes) for one in tensors)
    block, at = torch.empty(0, dtype=torch.uint8), 0
    for one in tensors:
        if at + one.nbytes > block.nbytes:
            size = max(one.nbytes, min(BLOCK_BYTES, left))
            block, at = torch.empty(size, dtype=torch.uint8, pin_memory=pin), 0
        room = block[at : at + one.nbytes].view(one.dtype)
        found[id(one)] = room.as_strided(one.shape, _strides(one))
        at += _aligned(one.nbytes)
        left -= _aligned(one.nbytes)
    return found


def _strides(one: torch.Tensor) -> tuple[int, ...]:
    """Return how to lay a tensor out without holes: as it is, also with its channels last, or plainly."""
    if one.dim() == 4 and one.is_contiguous(memory_format=torch.channels_last):
        return one.stride()
    return torch.empty(one.shape, device="meta").stride()


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
