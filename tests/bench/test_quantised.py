"""The program that says how far quantised weights are off, over a small model of random weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from bench.quantised import PROMPTS, main
from bench.quantised_stacks import main as stacks
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


# dB. Of one prompt, as here, merged was up to 5 farther from the plain picture than beside, of twenty up to 4.8 (fp8).
FARTHER = 8


def test_a_lora_is_worth_more_in_full_and_about_as_much_in_few_bits_as_beside_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One prompt and one LoRA of those whose figures docs/acceleration.md gives."""
    pytest.importorskip("torchao")
    torch.set_num_threads(1)
    asked = ["--lora", "ink", "--first", "1", "--quantizations", "int4"]
    assert stacks([str(HOME / "models"), "minimon-tiny", *asked]) == 0
    told = capsys.readouterr().out
    pattern = (
        r"(\w+), ink ([\d.]+): the LoRA ([\d.]+) dB; bare [\d.]+, "
        r"in full ([\d.]+|inf), in few bits ([\d.]+), beside ([\d.]+) dB; .* ([\d.]+)"
    )
    found = [(name, float(weight), *map(float, rest)) for name, weight, *rest in re.findall(pattern, told)]
    assert [(name, weight) for name, weight, *_ in found] == [(name, w) for name in ("int4",) for w in (0.2, 1.0)]
    for _, _, lora, full, merged, beside, off in found:
        assert full > max(merged, beside), told
        assert min(merged, beside) > lora + 6, told  # either is a quarter of what the LoRA changes, or less
        assert merged > beside - FARTHER, told
        assert off > 0
