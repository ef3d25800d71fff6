"""A server keeps the hashes of its files where its setting says, and the next one takes them from there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minimon_server.jobs.equipment import find_drawing
from tests.catalog.files import write
from tests.catalog.test_kinds import CROSS, lora
from tests.jobs.scene import quiet
from tests.support import settings_for


def test_the_next_start_tells_the_hashes_that_the_last_one_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimon_server.engines.kept_hashes.SETTLED_NS", 0)  # the file is new
    settings = settings_for(tmp_path, MINIMON_DEVICE="cpu", MINIMON_HASHES_PATH="kept/hashes.json")
    path = write(settings.models_dir / "loras" / "neon.safetensors", lora(CROSS, 2048, 300_000))
    told = find_drawing(settings, quiet()).hashes("nowhere", ["neon"])
    kept = json.loads((tmp_path / "kept" / "hashes.json").read_text())["files"]
    assert told == {"loras.neon": kept[str(path)]["sha256"]}
    monkeypatch.setattr("minimon_server.engines.file_hashes.file_digest", None)  # whoever reads a file now fails
    assert find_drawing(settings, quiet()).hashes("nowhere", ["neon"]) == told
