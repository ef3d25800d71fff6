"""What diffusers and transformers say, led into the server's own log. To be called before anything else of theirs."""

from __future__ import annotations

from typing import Any, Final

import diffusers
import transformers

LIBRARIES: Final[tuple[Any, ...]] = (diffusers, transformers)


def adopt_libraries() -> None:
    """Let the libraries' warnings reach the server's log, and draw no bars on its terminal."""
    for library in LIBRARIES:
        library.utils.logging.disable_default_handler()
        library.utils.logging.enable_propagation()
        library.utils.logging.disable_progress_bar()


def hold_warnings(held: bool) -> None:
    """Keep quiet while classes are imported: they warn that they lack what only other pipelines than ours need."""
    for library in LIBRARIES:
        (library.utils.logging.set_verbosity_error if held else library.utils.logging.set_verbosity_warning)()
