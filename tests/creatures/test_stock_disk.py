"""A disk that fails after a creature has got its name: nobody gets it twice, whatever the next start finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimon_server import disk
from minimon_server.creatures.drawn import MaybeKept
from minimon_server.creatures.rarity import Rarity
from minimon_server.creatures.stock_files import StockFiles
from tests.creatures.shelf import creature, number_of, play, stock_over
from tests.jobs.scene import quiet


def failing(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let so many syncs of a folder from now on fail, as a disk at its end does."""
    sync, left = disk.sync_folder, [times]

    def fails(folder: Path) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(5, "Input/output error")
        sync(folder)

    monkeypatch.setattr(disk, "sync_folder", fails)


def files(folder: Path) -> StockFiles:
    return StockFiles(folder, lambda: "one", quiet())


@pytest.mark.parametrize(("failures", "given"), [(1, 5), (2, None)])
def test_a_creature_is_given_by_this_process_or_found_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, given: int | None
) -> None:
    async def scene() -> None:
        stock = stock_over(files(tmp_path), 1)
        await stock.open()
        await stock.add(creature(4))  # stays at hand: the second one goes to the disk
        failing(monkeypatch, failures)
        await stock.add(creature(5))
        assert [number_of(await stock.taken(Rarity.F)) for _ in range(2)] == [4, given]
        after = stock_over(files(tmp_path), 1)
        await after.open()
        assert await after.taken(Rarity.F) is None

    play(scene)


def test_who_keeps_it_is_told_whether_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = files(tmp_path)
    here.open()
    failing(monkeypatch, 1)
    with pytest.raises(OSError, match="Input/output error") as known:
        here.put(creature(1))
    assert not isinstance(known.value, MaybeKept)
    failing(monkeypatch, 2)
    with pytest.raises(MaybeKept):
        here.put(creature(2))
    assert list(tmp_path.iterdir()) == []
