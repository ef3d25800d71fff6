"""Pixels from the device to main memory: bytes are made where the picture is computed, and the copy is not waited for.

Whether a picture is one (finite, and not black) is one more line behind its pixels: the device is asked nothing else.
The copy goes to pinned memory, with an event behind it; on the CPU it is a plain one. Not yet measured on a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def packed(images: torch.Tensor) -> torch.Tensor:
    """Return the bytes of `images` (B x 3 x height x width, -1 to 1), where they are: B x (height + 1) x width x 3.

    The last line of a picture is no pixels: 1 where all its numbers were finite and one shade is not 0, else 0.
    """
    is_finite = torch.isfinite(images).flatten(1).all(dim=1)
    shades = (images * 0.5 + 0.5).clamp(0, 1).float().mul(255).round().to(torch.uint8)
    lines = shades.permute(0, 2, 3, 1)
    is_picture = is_finite & lines.flatten(1).any(dim=1)
    last = is_picture.to(torch.uint8)[:, None, None, None].expand(-1, 1, *lines.shape[2:])
    return torch.cat([lines, last], dim=1)


class Landing:
    """Packed pictures on their way to main memory."""

    def __init__(self, rows: torch.Tensor) -> None:
        """Begin to copy `rows`, as `packed` makes them; on the CPU they are kept, and nobody may write over them."""
        self._event: Any = None
        if rows.is_cuda:
            self._rows = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
            self._rows.copy_(rows, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call] # as the library has it
            self._event.record()
        else:
            self._rows = rows

    def pixels(self) -> list[NDArray[np.uint8] | None]:
        """Wait for the copy; return each picture, height x width x 3, or None where what came out is none."""
        if self._event is not None:
            self._event.synchronize()
        rows: NDArray[np.uint8] = self._rows.numpy()
        return [row[:-1] if row[-1, 0, 0] else None for row in rows]
