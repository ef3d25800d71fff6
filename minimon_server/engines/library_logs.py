"""What diffusers and transformers say, led into the server's own log. To be called before anything else of theirs."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

import diffusers
import transformers

from minimon_server.logs import Logger

LIBRARIES: Final[tuple[Any, ...]] = (diffusers, transformers)
_KERNEL: Final = "a compiled kernel of torchao's that cannot be loaded here; no quantisation of this server uses it"
# What is said while torchao is imported, wherever that is: by its logger, how it begins or reads, and what it means.
# torchao 0.18, `__init__.py` and `kernel/intmm.py`; torch 2.13, `utils/_pytree.py`.
EXPLAINED: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "torchao": (re.compile(r"Failed to load .*_C\w*\.[\w.-]+so: "), _KERNEL),
    "torchao.kernel.intmm": (
        re.compile("Warning: Detected no triton"),
        "no Triton, as on machines without a GPU: torchao's kernels for GPUs are not there",
    ),
    "torch.utils._pytree": (
        re.compile("<enum '(KernelPreference|ScaleCalculationMode)'> is an Enum subclass and is now natively"),
        "torchao registers its own types in a way that torch will drop; it changes nothing today",
    ),
}


class Explained(logging.Filter):
    """Lets everything of one logger through but what is explained: that goes to our log, each text once, at debug."""

    def __init__(self, logger: str, log: Logger) -> None:
        super().__init__()
        self._pattern, self._meaning = EXPLAINED[logger]
        self._log = log
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record goes its usual way."""
        said = record.getMessage()
        if not self._pattern.match(said):
            return True
        if said not in self._told:
            self._told.add(said)
            self._log.debug("said by a library", logger=record.name, said=said, meaning=self._meaning)
        return False


def adopt_libraries(log: Logger) -> None:
    """Let the libraries' warnings reach the server's log, and draw no bars on its terminal.

    Those that are known to mean nothing here are told once, at debug, with what they mean.
    """
    for library in LIBRARIES:
        library.utils.logging.disable_default_handler()
        library.utils.logging.enable_propagation()
        library.utils.logging.disable_progress_bar()
    for name in EXPLAINED:
        logger = logging.getLogger(name)
        for former in [one for one in logger.filters if isinstance(one, Explained)]:
            logger.removeFilter(former)  # of an engine that was given back
        logger.addFilter(Explained(name, log))


def hold_warnings(held: bool) -> None:
    """Keep quiet while classes are imported: they warn that they lack what only other pipelines than ours need."""
    for library in LIBRARIES:
        (library.utils.logging.set_verbosity_error if held else library.utils.logging.set_verbosity_warning)()
