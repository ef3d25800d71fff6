"""The sheet of rarities, drawn by the code of the creatures' backend with a small real pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimon_server.creatures.rarity import RARITIES
from tests.support import HOME
from tools.rarities import main


def test_a_row_for_each_rarity_and_a_column_for_each_seed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tests.small_pipeline import build

    torch.set_num_threads(1)
    build(tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    common = ["--model", str(tmp_path / "small"), "--seeds", "2", "--size", "64", "--steps", "1"]
    assert main([*common, "-o", "sheets/whole.png"]) == 0
    with Image.open("sheets/whole.png") as picture:
        sheet = np.asarray(picture).reshape(len(RARITIES), 64, 2, 64, 3)
    assert all((one != other).any() for one, other in zip(sheet[0], sheet[-1], strict=True))
    assert main([*common, "--seeds", "1", "--alone", "-o", "alone.png"]) == 0
    assert "of the picture" in capfd.readouterr().err  # random weights draw no even background, and it is told
    assert main(["--model", "nowhere", "-o", "none.png"]) == 2
    assert "nowhere" in capfd.readouterr().err
    assert not Path("none.png").exists()
    assert (HOME / "minimon" / "prompts.toml").exists()
