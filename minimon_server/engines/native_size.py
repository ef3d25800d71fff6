"""Models that draw at one size: what a picture begins with is fitted to it, what comes out is resampled. Draws nothing.

The native picture is enlarged, or made smaller, until it covers the size that was asked for, and what stands over at
two sides is cut off: the same seed is the same creature at every size, a wide picture is a band of the square one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from minimon_server.engines.messages import DrawRequest, EngineFault

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Size = tuple[int, int]


class Canvas:
    """The way between the size that a request asks for and the one that its model draws. Sizes: width, height."""

    def __init__(self, request: DrawRequest, native: int | None) -> None:
        """`native` is the side of a model's square pictures, None where it draws any size.

        Raise `EngineFault` for a second pass over a picture of one size: it could only draw the same again.
        """
        if native is not None and request.hires is not None:
            raise EngineFault(f"This model always draws at {native}x{native}: there is no second pass (hires).")
        self.asked: Size = (request.width, request.height)
        self.drawn: Size = self.asked if native is None else (native, native)

    @property
    def told(self) -> dict[str, str]:
        """What a picture says of it: nothing where it was drawn as it was asked for."""
        return {} if self.drawn == self.asked else {"drawn_at": f"{self.drawn[0]}x{self.drawn[1]}"}

    def as_drawn(self, request: DrawRequest) -> DrawRequest:
        """Return the request with the size that is really drawn, which decides how much memory it takes."""
        return replace(request, width=self.drawn[0], height=self.drawn[1])

    def fitted(self, image: Image.Image | None) -> Image.Image | None:
        """Return a picture or mask of the asked size where it will lie in the drawn one.

        What lies beyond its edges will be cut off again: the edge's own pixels are repeated there, so that nothing
        foreign is seen from inside.
        """
        if image is None or self.drawn == self.asked:
            return image
        side = max(self.asked)
        left, top = self._margins(side)
        width, height = self.asked
        beyond = [(top, side - height - top), (left, side - width - left)]
        pixels = np.asarray(image)
        whole = np.pad(pixels, [*beyond, *([(0, 0)] * (pixels.ndim - 2))], mode="edge")
        return Image.fromarray(whole).resize(self.drawn, Image.Resampling.LANCZOS)

    def finished(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return drawn pixels (height x width x 3) at the asked size: Lanczos to cover it, then the middle of that."""
        if self.drawn == self.asked:
            return pixels
        side = max(self.asked)
        left, top = self._margins(side)
        width, height = self.asked
        covering = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
        return np.asarray(covering.crop((left, top, left + width, top + height)))

    def seen(self, latents: Tensor) -> Tensor:
        """Return those of some latents (... x height x width) that the asked size will show, at least one each way."""
        if self.drawn == self.asked:
            return latents
        width, height = self.asked
        found = latents
        for axis, share in ((-2, height), (-1, width)):
            count = int(latents.shape[axis])
            kept = max(1, round(count * share / max(self.asked)))
            found = found.narrow(axis, (count - kept) // 2, kept)
        return found

    def _margins(self, side: int) -> Size:
        """Return what is cut off at the left and at the top of a square that covers the asked size."""
        return (side - self.asked[0]) // 2, (side - self.asked[1]) // 2
