"""A UNet that draws one row of guidance after the other for a while, and compiles nothing for that. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minimon_server.engines.compiled_unet import compiled_of
from minimon_server.engines.guidance_rows import row_by_row


def slice_rows(unet: Any) -> Callable[[], None]:
    """Let a UNet draw row by row until what is returned is called.

    One row is a size of its own, and compiling takes more memory than it would save: it is computed with the graphs
    that there are, or with none.
    """
    whole, compiled = unet.forward, compiled_of(unet)
    compile_again = compiled.spare() if compiled is not None else None
    # An instance may have a `forward` of its own already, as a compiled one has.
    own = "forward" in vars(unet)

    def undo() -> None:
        if own:
            unet.forward = whole
        else:
            del unet.forward
        if compile_again is not None:
            compile_again()

    unet.forward = row_by_row(whole)
    return undo
