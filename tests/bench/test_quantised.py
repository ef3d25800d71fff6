"""The program that says how far quantised weights are off, over a small model of random weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from bench.quantised import PROMPTS, main
from tests.small_pipeline import build


def test_it_prints_how_far_each_quantisation_is_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchao")
    torch.set_num_threads(1)
    build(tmp_path / "small")
    (tmp_path / "small" / "minimon.json").write_text('{"steps": 1, "guidance_scale": 0}')
    assert main([str(tmp_path), "small", "--first", "2", "--quantizations", "int8", "fp4"]) == 0
    told = capsys.readouterr().out
    found = re.search(r"int8: 2 prompts: least ([\d.]+), median [\d.]+, mean [\d.]+ dB", told)
    assert found
    assert float(found[1]) > 40
    if not torch.cuda.is_available():
        assert "fp4: refused: SDXL_QUANTIZATION=fp4: a CPU does not compute in fp4" in told
    assert len(set(PROMPTS)) == 100
