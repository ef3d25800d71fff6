"""The blocks of a UNet of SDXL's depth, compiled by the real inductor; what it wrote serves the next process.

Run by `make torture`: it writes C++ for minutes. The harness that measures it is what runs it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.compiled import main

pytestmark = pytest.mark.torture
LINE = re.compile(r"blocks, (first|second) start: (\d+) graphs, (\d+) of them kept; .* off by (\S+)")


def test_a_second_start_compiles_nothing_anew(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--modes", "blocks", "--folder", str(tmp_path)]) == 0
    first, second = LINE.findall(capfd.readouterr().out)
    assert (first[0], second[0]) == ("first", "second")
    assert int(first[1]) == int(second[1]) < 70 + 17
    assert (int(first[2]), int(second[2])) == (0, int(second[1]))
    assert max(float(first[3]), float(second[3])) < 1e-4
