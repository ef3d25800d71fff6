"""The program that says how far quantised weights are off, over a small model of random weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from bench.quantised import PROMPTS, main
from tests.e2e.running import HOME
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


def test_the_embedded_models_pictures_change_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sample of the hundred whose figures docs/acceleration.md gives, of prompts that the model knows."""
    pytest.importorskip("torchao")
    torch.set_num_threads(1)
    asked = tmp_path / "prompts.txt"
    asked.write_text(
        "a blue water bird, happy eyes\na green grass slime, big eyes\na yellow electric cat, angry eyes\n"
    )
    shipped = str(HOME / "models")
    assert main([shipped, "minimon-tiny", "--prompts", str(asked), "--quantizations", "int8", "fp8"]) == 0
    told = capsys.readouterr().out
    for name, least in (("int8", 40), ("fp8", 32)):
        found = re.search(rf"{name}: 3 prompts: least ([\d.]+), median ([\d.]+)", told)
        assert found, told
        assert float(found[1]) > least, told
