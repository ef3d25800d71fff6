"""Tests of the training loop: stopped and gone on with is the same as never stopped; two processes do what one does."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tools.small_recipe import SMALL, of_length, plan
from tools.tiny.ahead import Ahead, Here
from tools.tiny.autoencoder import FOLDER, MakeAutoencoderTask, train_autoencoder
from tools.tiny.autoencoder_net import make_autoencoder
from tools.tiny.crew import Crew
from tools.tiny.finishing import level_latents, reconstruct, unseen_signal
from tools.tiny.optimizer import each_orthogonal, orthogonal
from tools.tiny.pictures import Pictures
from tools.tiny.recipe import Plan
from tools.tiny.tokenizer import learn_tokenizer
from tools.tiny.training import Trainer, chance_of, load_checkpoint


@dataclass(frozen=True, slots=True)
class MakeLine:
    """Makes a task that is solved in no time."""

    def __call__(self) -> Line:
        return Line()


class Line:
    """A layer that is to say 1."""

    def __init__(self) -> None:
        torch.manual_seed(5)
        self.net: torch.nn.Module = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 1))

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, dict[str, float]]:
        signal = torch.randn((8, 16), generator=chance_of(step, 3))[share::shares]
        loss = (self.net(signal) - 1).square().mean()
        return loss, {"twice": 2 * loss.item()}


def same(first: Any, second: Any) -> bool:
    """Whether two trees of tensors are bit for bit the same."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    Pictures(folder / "pictures", SMALL.drawn, SMALL.per_file).draw(SMALL.pictures, 1)
    return folder


@pytest.mark.parametrize("muon", [True, False])
def test_a_stopped_training_ends_as_one_that_was_not(tmp_path: Path, muon: bool) -> None:
    whole, part = replace(plan(9), muon=muon, cooldown=0), replace(plan(4), muon=muon, cooldown=0)
    assert Trainer(MakeLine(), whole, tmp_path / "once", "line").run()
    assert Trainer(MakeLine(), part, tmp_path / "twice", "line").run()
    second = Trainer(MakeLine(), whole, tmp_path / "twice", "line")
    assert second.step == 4
    assert second.run()
    assert same(load_checkpoint(tmp_path / "once"), load_checkpoint(tmp_path / "twice"))


def test_the_autoencoder_goes_on_exactly(work: Path, tmp_path: Path) -> None:
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pictures").symlink_to(work / "pictures")
    assert train_autoencoder(of_length(4), tmp_path / "once", "cpu", 1)
    assert train_autoencoder(of_length(1), tmp_path / "twice", "cpu", 1)
    assert train_autoencoder(of_length(4), tmp_path / "twice", "cpu", 1)
    assert same(load_checkpoint(tmp_path / "once" / FOLDER), load_checkpoint(tmp_path / "twice" / FOLDER))


@pytest.mark.torture
def test_two_processes_find_the_gradients_of_one(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    long = Plan(steps=20, batch=8, rate=1e-2, warmup=1, muon=False)
    Trainer(MakeLine(), long, tmp_path / "one", "line", workers=1).run()
    Trainer(MakeLine(), long, tmp_path / "two", "line", workers=2).run()
    one, two = load_checkpoint(tmp_path / "one"), load_checkpoint(tmp_path / "two")
    assert one is not None
    assert two is not None
    for name, weight in one["raw"].items():
        assert torch.allclose(weight, two["raw"][name], atol=1e-5), name
    torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class MakeFragile:
    """Makes a task whose second share fails."""

    def __call__(self) -> Fragile:
        return Fragile()


class Fragile(Line):
    """A line that breaks in another process."""

    def loss(self, step: int, share: int, shares: int) -> tuple[torch.Tensor, dict[str, float]]:
        if share:
            raise ValueError("broken")
        return super().loss(step, share, shares)


@pytest.mark.torture
def test_a_process_that_ends_ends_the_training(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="A process of the training ended"):
        Trainer(MakeFragile(), plan(5), tmp_path, "line", workers=2).run()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path: Path, number: int) -> None:
    def at_three(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), number)

    trainer = Trainer(MakeLine(), plan(1000), tmp_path, "line")
    assert not trainer.run(at_three)
    saved = load_checkpoint(tmp_path)
    assert saved is not None
    assert 3 <= saved["step"] < 1000


def test_a_file_named_pause_stops_before_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "pause").touch()
    assert not Trainer(MakeLine(), plan(5), tmp_path, "line").run()
    (tmp_path / "pause").unlink()
    assert Trainer(MakeLine(), plan(5), tmp_path, "line").run()


def test_the_loss_falls_and_is_logged(tmp_path: Path) -> None:
    Trainer(MakeLine(), Plan(steps=60, batch=8, rate=2e-2, warmup=1, log_every=5), tmp_path, "line").run()
    lines = (tmp_path / "losses.jsonl").read_text().splitlines()
    assert len(lines) == 12
    first, last = (float(line.split('"loss": ')[1].split(",")[0]) for line in (lines[0], lines[-1]))
    assert last < first / 2


def test_the_rate_climbs_stays_and_falls() -> None:
    plan = Plan(steps=100, batch=1, rate=1.0, warmup=10, cooldown=20)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == 1.0
    assert rates[99] == pytest.approx(0.05)
    assert rates == sorted(rates[:10]) + rates[10:80] + sorted(rates[80:], reverse=True)


def test_orthogonal_brings_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((24, 80), (80, 24)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.5


def test_levelled_latents_are_level_and_the_pictures_stay(work: Path) -> None:
    torch.manual_seed(1)
    net = make_autoencoder(SMALL.autoencoder_shape, SMALL.side).eval()
    sample = unseen_signal(8, SMALL.drawn)
    before = reconstruct(net, sample)
    level_latents(net, sample)
    assert torch.allclose(reconstruct(net, sample), before, atol=1e-4)
    latents = net.encode(sample).latent_dist
    assert torch.allclose(latents.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    whole = latents.mean.var((0, 2, 3)) + latents.var.mean((0, 2, 3))
    assert torch.allclose(whole, torch.ones(4), atol=1e-3)


def test_captions_written_ahead_are_those_of_the_step(tmp_path: Path) -> None:
    learn_tokenizer(tmp_path, 100)
    ahead = Ahead(tmp_path, 7, "", lambda step: [step, 5])
    here = Here(tmp_path, 7)
    for step in (3, 4, 9):
        pairs = zip(ahead.written(step, [step, 5]), here.written(step, [step, 5]), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_a_task_made_twice_is_the_same(work: Path) -> None:
    make = MakeAutoencoderTask(SMALL, work, "cpu")
    first, second = make(), make()
    assert same(dict(first.net.state_dict()), dict(second.net.state_dict()))
    assert np.isclose(first.loss(0, 0, 1)[0].item(), second.loss(0, 0, 1)[0].item())


def test_shared_work_gives_the_same_bits(tmp_path: Path) -> None:
    """Who makes a matrix orthogonal changes nothing."""
    threads = torch.get_num_threads()
    chance = torch.Generator().manual_seed(5)
    matrices = [torch.randn(shape, generator=chance) for shape in ((8, 9), (9, 8), (12, 9), (3, 5))]
    crew = Crew(MakeLine(), workers=2)
    together = [one.clone() for one in crew.orthogonal(matrices)]
    crew.close()
    torch.set_num_threads(threads)
    for one, other in zip(together, each_orthogonal(matrices), strict=True):
        assert torch.equal(one, other)
