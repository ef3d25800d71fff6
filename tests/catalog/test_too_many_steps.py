"""An entry of the catalogue that gives a model more steps than its scheduler takes: told when it is read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from minimon_server.catalog import words
from minimon_server.catalog.kept import KeptCatalogue
from minimon_server.catalog.stock import CATALOGUE, Stock
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.logs import Lines, LogSink

ENTRIES = """schema = 1
[[model]]
id = "small"
name = "Small one"
kind = "diffusers"
[model.defaults]
{defaults}
[[model]]
id = "other"
name = "Other one"
kind = "diffusers"
[model.defaults]
steps = 7
[[model]]
id = "absent"
name = "Not here"
kind = "diffusers"
[model.defaults]
steps = 51
scheduler = "lcm"
"""
ABSENT = "catalog.toml: model absent: defaults.steps: 51 steps, at most 50 with lcm"


def stock_with(root: Path, models: Path, defaults: str, log: Path) -> tuple[Stock, LogSink]:
    """Return what can be asked for in `root`, with an entry of these defaults, and where it logs to: a file."""
    for name in ("small", "other"):
        shutil.copytree(models / "small", root / name)
    (root / CATALOGUE).write_text(ENTRIES.format(defaults=defaults))
    sink = LogSink(os.open(log, os.O_CREAT | os.O_WRONLY))
    told = Lines(sink, level="INFO", as_json=True, secrets=()).logger()
    return Stock(root, ModelFolders(root, told), told, KeptCatalogue(root / CATALOGUE, told)), sink


@pytest.mark.parametrize(
    ("defaults", "problem"),
    [
        ('steps = 60\nscheduler = "lcm"', "defaults.steps: 60 steps, at most 50 with lcm"),
        ('steps = 51\nscheduler = "tcd"', "defaults.steps: 51 steps, at most 50 with tcd"),
        ('steps = 50\nscheduler = "tcd"', None),
        ('steps = 60\nscheduler = "euler"', None),
        ("steps = 60", None),
    ],
)
def test_an_entry_with_too_many_steps_is_refused_alone(
    models: Path, tmp_path: Path, defaults: str, problem: str | None
) -> None:
    stock, sink = stock_with(tmp_path / "models", models, defaults, tmp_path / "log")
    for _ in range(2):
        small, other, absent = stock.models()
    assert small.unavailable == (problem and words.unusable(f"the catalogue says of small: {problem}"))
    assert (other.unavailable, other.steps, small.name) == (None, 7, "Small one")
    assert absent.unavailable == words.MISSING
    problems = [f"catalog.toml: model small: {problem}"] if problem else []
    assert stock.facts()["catalog"] == [*problems, ABSENT]
    sink.flush()
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["problem"] for line in told] == [*problems, ABSENT]  # once, whoever looks how often
    (tmp_path / "models" / CATALOGUE).write_text(ENTRIES.format(defaults="steps = 5").replace("51", "50"))
    assert [model.unavailable for model in stock.models()] == [None, None, words.MISSING]
    assert stock.facts()["catalog"] == "ok"
    sink.close()


def test_the_limit_is_the_one_that_the_model_says_and_the_scheduler_may_be_its_own(
    models: Path, tmp_path: Path
) -> None:
    root = tmp_path / "models"
    stock, sink = stock_with(root, models, "steps = 30", tmp_path / "log")
    settings = root / "small" / "scheduler" / "scheduler_config.json"
    told = json.loads(settings.read_text()) | {"_class_name": "LCMScheduler", "original_inference_steps": 20}
    settings.write_text(json.dumps(told))
    (small, *_) = stock.models()
    problem = "defaults.steps: 30 steps, at most 20 with its own scheduler"
    assert small.unavailable == words.unusable(f"the catalogue says of small: {problem}")
    (root / "small" / "minimon.json").write_text('{"steps": 30}')
    (root / CATALOGUE).write_text(ENTRIES.format(defaults='scheduler = "tcd"'))
    (small, *_) = stock.models()
    problem = "defaults.scheduler: 30 steps, at most 20 with tcd"
    assert small.unavailable == words.unusable(f"the catalogue says of small: {problem}")
    sink.close()
