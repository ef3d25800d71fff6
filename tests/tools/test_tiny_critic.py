"""The critic: it learns to read latents, and what it reads pulls on the UNet's weights beside the squared error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tools.small_recipe import SMALL, plan
from tools.tiny.critic import FOLDER, OTHERS, WEIGHTS, chosen, load_critic, misread, train_critic
from tools.tiny.latents import FOLDER as LATENTS
from tools.tiny.painter import TOKENIZER, MakePainterTask
from tools.tiny.reader import VALUES, truth
from tools.tiny.tokenizer import learn_tokenizer

COUNT = 64
RECIPE = replace(SMALL, critic=replace(plan(40), batch=32, rate=3e-3))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plain_latents() -> np.ndarray:
    """Return latents that show a creature's coat and mouth as plainly as can be: each value a shade of one channel."""
    known = truth(list(range(COUNT)))
    names = list(VALUES)
    shades = known[:, [names.index("pattern"), names.index("mouth")]].float() - 1
    latents = torch.zeros(COUNT, 4, 16, 16)
    latents[:, :2] = shades.view(COUNT, 2, 1, 1)
    return latents.half().numpy()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with latents, tokenizer and a trained critic."""
    folder = tmp_path_factory.mktemp("work")
    (folder / LATENTS).mkdir()
    np.save(folder / LATENTS / "00000.npy", plain_latents())
    learn_tokenizer(folder / TOKENIZER, 200)
    assert load_critic(folder, 4, 16) is None
    assert train_critic(RECIPE, folder, "cpu", 1)
    return folder


def test_what_is_read_right_costs_less_and_small_things_cost_more() -> None:
    wanted = truth([3, 4])
    sure = [20 * torch.eye(len(names))[wanted[:, place]] for place, names in enumerate(VALUES.values())]
    assert misread(sure, wanted).shape == (2,)
    assert misread(sure, wanted).max() < 1e-3
    for place, name in enumerate(VALUES):
        wrong = [one.roll(1, 1) if place == number else one for number, one in enumerate(sure)]
        assert misread(wrong, wanted).tolist() == pytest.approx([20 * WEIGHTS.get(name, OTHERS)] * 2, rel=1e-3)


def test_what_no_word_names_may_be_chosen_but_is_to_be_plain() -> None:
    drawn = truth([3, 4])
    readings = [
        torch.eye(len(names))[(drawn[:, place] + 1) % len(names)] for place, names in enumerate(VALUES.values())
    ]
    named = torch.zeros(drawn.shape, dtype=torch.bool)
    named[0, 2] = named[1] = True
    wanted = chosen(readings, drawn, named)
    assert torch.equal(wanted[1], drawn[1])
    assert wanted[0, 2] == drawn[0, 2]
    read = torch.stack([reading.argmax(1) for reading in readings], 1)
    assert torch.equal(wanted[0][~named[0]], read[0][~named[0]])
    # A plain reading of anything costs less than an even blend of all, where nothing was said.
    blends = [torch.zeros_like(reading) for reading in readings]
    plain = [20 * reading for reading in readings]
    assert misread(plain, chosen(plain, drawn, named))[0] < misread(blends, chosen(blends, drawn, named))[0]


def test_the_critic_learns_to_read_latents(work: Path) -> None:
    critic = load_critic(work, 4, 16)
    assert critic is not None
    readings = critic(torch.from_numpy(plain_latents()).float())
    for name in ("pattern", "mouth"):
        place = list(VALUES).index(name)
        right = (readings[place].argmax(1) == truth(list(range(COUNT)))[:, place]).float().mean()
        assert right > 0.9, name


def test_what_it_reads_is_part_of_what_the_unet_lowers(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work, tmp_path / "without")
    shutil.rmtree(tmp_path / "without" / FOLDER)
    gradients, figures = [], []
    for folder in (work, tmp_path / "without"):
        task = MakePainterTask(RECIPE, folder, "cpu")()
        loss, told = task.loss(0, 0, 1)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([value.grad for value in task.net.parameters() if value.grad is not None])
        figures.append((loss.item(), told))
    (judged, told), (plain, nothing) = figures
    assert nothing == {}
    assert told["squared"] == pytest.approx(plain)
    assert judged > plain
    assert told["misread"] > 0
    assert any(not torch.equal(one, other) for one, other in zip(*gradients, strict=True))
