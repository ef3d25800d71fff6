"""The part about downloads: everybody gets the whole file from a real server, and who gets another one is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import downloads
from bench.downloads import CURL, FLOOR, HUB, OURS, SYNCED, Scene, Served
from bench.errors import BenchError
from bench.report import Figure
from tests.support import HOME


def test_everybody_fetches_the_same_file_beside_the_floors(tmp_path: Path) -> None:
    rows = downloads.rows_of(HOME, tmp_path, 1 << 20, 1, unmeasured=0)
    everybody = {OURS, CURL, SYNCED, HUB}
    assert [set(row.cells) for row in rows] == [{*everybody, FLOOR}, everybody, everybody, {FLOOR}, {FLOOR}, {FLOOR}]
    for row in rows:
        for cell in row.cells.values():
            assert isinstance(cell, Figure)
            assert cell.low > 0
    slowest = min(cell.median for row in rows[3:] for cell in row.cells.values() if isinstance(cell, Figure))
    floor = rows[0].cells[FLOOR]
    assert isinstance(floor, Figure)
    assert floor.median == slowest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file_server.log", "served"]


@pytest.mark.parametrize("name", [OURS, CURL])
def test_a_file_that_is_not_the_one_ends_the_measurement(tmp_path: Path, name: str) -> None:
    with downloads.serving(HOME, tmp_path, 4096) as scene:
        (tmp_path / "fetched").mkdir()
        wanted = replace(scene.files[downloads.LARGE], sha256="0" * 64)
        with pytest.raises(BenchError, match="ended with status 1"):
            downloads.contenders()[name](scene, wanted, tmp_path / "fetched")


def test_a_file_of_another_length_ends_the_measurement(tmp_path: Path) -> None:
    def half(scene: Scene, wanted: Served, target: Path) -> Path:
        (target / "x").write_bytes(b"x")
        return target / "x"

    scene = Scene(HOME, tmp_path, 0, {})
    with pytest.raises(BenchError, match="half left 1 bytes instead of 2"):
        downloads.raced(scene, Served("x", 2, ""), {"half": half}, 1, unmeasured=0)
