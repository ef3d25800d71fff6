"""The text encoders' own lesson: what is read of a caption, and that a UNet's training begins with it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tools.small_recipe import SMALL, plan
from tools.tiny.captions import typed
from tools.tiny.creatures import training_traits
from tools.tiny.painter_net import face_weights
from tools.tiny.reader import VALUES, ReaderTask, read_words, train_reader, truth
from tools.tiny.tokenizer import learn_tokenizer, load_tokenizer, token_rows

QUICK = replace(SMALL, reader=replace(plan(60), batch=32, rate=3e-3))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "tokenizer"
    learn_tokenizer(folder, 200)
    return folder


def test_truth_is_the_place_of_each_value() -> None:
    traits = training_traits(7)
    places = truth([7])[0].tolist()
    said = {name: VALUES[name][place] for name, place in zip(VALUES, places, strict=True)}
    assert said == {name: getattr(traits, name).value for name in VALUES}


def test_encoders_learn_what_captions_say_and_are_handed_on(tokenizer: Path, tmp_path: Path) -> None:
    device = torch.device("cpu")
    before, _ = ReaderTask(QUICK, tokenizer, device).loss(1000, 0, 1)
    assert read_words(tmp_path) is None
    assert train_reader(QUICK, tmp_path, tokenizer, "cpu", 1)
    words = read_words(tmp_path)
    assert words is not None
    taught = ReaderTask(QUICK, tokenizer, device)
    taught.net.get_submodule("words").load_state_dict(words)
    untaught = ReaderTask(QUICK, tokenizer, device).net.get_submodule("words").state_dict()
    assert set(words) == set(untaught)
    assert any(not torch.equal(words[name], untaught[name]) for name in words)
    last = (tmp_path / "reader" / "losses.jsonl").read_text().splitlines()[-1]
    assert float(last.split('"loss": ')[1].split(",")[0]) < before.item()


def test_what_follows_the_end_of_a_text_changes_nothing(tokenizer: Path) -> None:
    """The reader leaves the padding out, which the UNet's training does not: both must read the same."""
    task = ReaderTask(QUICK, tokenizer, torch.device("cpu"))
    task.net.eval()
    pieces = load_tokenizer(tokenizer)
    texts = [typed(training_traits(index), random.Random(index)).text for index in range(4)]
    rows = torch.tensor(token_rows(pieces, texts))
    ends = (rows == pieces.eos_token_id).int().argmax(1)
    assert int(ends.max()) + 1 < rows.shape[1]
    with torch.no_grad():
        whole = task.net(rows, ends)
        cut = task.net(rows[:, : int(ends.max()) + 1], ends)
    for one, other in zip(whole, cut, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_middle_of_a_picture_weighs_more_and_the_mean_is_one() -> None:
    weights = face_weights(16)
    assert weights.shape == (16, 16)
    assert weights.mean().item() == pytest.approx(1)
    assert torch.equal(weights, weights.flip(0, 1))
    assert weights[7, 7] == weights.max() > 2 * weights[0, 0] > 0
