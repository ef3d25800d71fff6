"""Tests of the drawn training pictures: the same ones always, whole or not there, and gone on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.tiny.creatures import training_traits
from tools.tiny.hues import Hues
from tools.tiny.pictures import Pictures, draw_creature


def test_drawing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path, side=64, per_file=2)
    assert pictures.count() == 0
    pictures.draw(4, workers=1)
    assert pictures.count() == 4
    first = (tmp_path / "00000.npy").stat().st_mtime_ns
    (tmp_path / "00001.npy").unlink()
    assert pictures.count() == 2
    pictures.draw(6, workers=2)
    assert pictures.count() == 6
    assert (tmp_path / "00000.npy").stat().st_mtime_ns == first
    assert not list(tmp_path.glob("*.partial"))


def test_pictures_are_those_of_their_index(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path, side=64, per_file=2)
    pictures.draw(4, workers=1)
    taken = pictures.take([3, 0])
    assert np.array_equal(taken[0], draw_creature(training_traits(3), 3, 64))
    assert np.array_equal(taken[1], draw_creature(training_traits(0), 0, 64))
    crops = pictures.crops([3], [(10, 20)], 32)
    assert np.array_equal(crops[0], taken[0][10:42, 20:52])


def test_hues_know_drawn_creatures_again(tmp_path: Path) -> None:
    traits = [training_traits(index) for index in range(60)]
    drawn = np.stack([draw_creature(one, index, 64) for index, one in enumerate(traits)])
    hues = Hues(drawn, traits)
    assert [hues.colour(one, neighbours=1) for one in drawn] == [one.colour.value for one in traits]
