"""What the libraries say when they are imported: what is explained is told at debug, all else as it was."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support import HOME

# A process of its own: the libraries say it once, at their first import.
PROGRAM = """
import logging, sys
from minimon_server.logs import Lines, LogSink, adopt_standard_library
sink = LogSink(1)
log = Lines(sink, level=sys.argv[1], as_json=True, secrets=()).logger()
adopt_standard_library(log)
from minimon_server.engines.library_logs import adopt_libraries
adopt_libraries(log)
adopt_libraries(log)  # the engine may be made anew
import torchao.quantization
for _ in range(2):
    logging.getLogger("torchao").warning("Failed to load /somewhere/torchao/_C_new.abi3.so: no such symbol")
logging.getLogger("torchao").warning("Failed to load the plan")
logging.getLogger("torchao.kernel.intmm").warning("Warning: Detected no triton, on systems without Triton")
logging.getLogger("torch.utils._pytree").warning("%s is odd", "it")
logging.getLogger("torchao.quantization").warning("another of its own")
sink.flush()
"""


def said(level: str) -> tuple[list[dict[str, str]], str]:
    """Return the lines of the log of such a process, and its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level],
        cwd=HOME,
        env={"PYTHONPATH": str(HOME), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_lines_without_a_meaning_here_are_explained_at_debug_and_others_stay_warnings(level: str) -> None:
    lines, stderr = said(level)
    warned = [str(line) for line in lines if line["level"] == "warning"]
    for text in ("Failed to load the plan", "another of its own"):
        assert sum(text in line for line in warned) == 1
    assert not [line for line in warned if "_C_" in line or "triton" in line or "Enum subclass" in line]
    # torch's own logger writes to stderr itself: what is not explained is still there.
    assert "it is odd" in stderr + str(warned)
    assert "Enum subclass" not in stderr
    explained = [line for line in lines if line["event"] == "said by a library"]
    if level == "INFO":
        assert explained == []
        return
    assert {line["level"] for line in explained} == {"debug"}
    assert len([line for line in explained if "_C_new" in line["said"]]) == 1
    assert {line["logger"] for line in explained} >= {"torchao", "torchao.kernel.intmm"}
    assert all(line["meaning"] for line in explained)
    assert len({line["said"] for line in explained}) == len(explained)
