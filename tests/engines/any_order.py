"""Jobs with random stacks in random order on one engine: each drawn as a process draws it that does nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.adapter_scene import KINDS, drawn, files_of, same, state_of, uses
from tests.engines.exhaustion import pipeline
from tests.engines.fresh_process import drawn_apart, pixels_of

PROMPTS = ("a red cat", "a (blue:1.3) dragon, asleep", "")
SCHEDULERS = (None, None, "euler_a", "dpmpp_2m_karras")
SIDE_BY_SIDE = 2  # processes
PER_START = 10  # requests for each process that is started, see fresh_process.py


def asked_for(models: Sequence[str], jobs: int) -> list[DrawRequest]:
    """Return so many requests and a quarter of them once more, always the same."""
    dice = random.Random(5)
    asked = []
    for _ in range(jobs):
        names = dice.sample(list(KINDS), dice.choice((0, 1, 1, 2, 4)))
        stack = uses(**{name: dice.choice((-2.0, -0.5, 0.0, 0.7, 1.0)) for name in names})
        plain = DrawRequest(dice.choice(models), dice.choice(PROMPTS), "blurry", (dice.choice((7, 8)),), 64, 64, 1, 5.0)
        asked.append(replace(plain, adapters=stack, steps=dice.choice((1, 1, 2)), scheduler=dice.choice(SCHEDULERS)))
    return [*asked, *dice.sample(asked, jobs // 4)]


def expected_of(root: Path, asked: Sequence[DrawRequest]) -> dict[DrawRequest, str]:
    """Return the pixels of each request as a process draws it that draws nothing else."""
    distinct = list(dict.fromkeys(asked))
    starts = -(-len(distinct) // PER_START)
    groups = [distinct[number::starts] for number in range(starts)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        drawn_by = pool.map(partial(drawn_apart, root), groups)
        return {
            one: pixels
            for group, made in zip(groups, drawn_by, strict=True)
            for one, pixels in zip(group, made, strict=True)
        }


def draw_in_any_order(root: Path, models: Sequence[str], jobs: int, log: Logger) -> None:
    """Draw jobs with random stacks on one engine over a folder with `KINDS`: each as a fresh process draws it.

    Afterwards the weights of every model are those of its files.
    """
    asked = asked_for(models, jobs)
    assert {request.model for request in asked} == set(models)
    assert {use.name for request in asked for use in request.adapters if use.weight} == set(KINDS)
    expected = expected_of(root, asked)
    engine = SdxlEngine(ModelFolders(root, log), "cpu", log)
    for request in asked:
        assert pixels_of(engine, request) == expected[request], request
        assert engine.loaded == request.stack
    assert len(set(expected.values())) > len(expected) * 3 // 4
    for model in models:
        drawn(engine, replace(asked[0], model=model, adapters=()))
        assert same(state_of(pipeline(engine)), files_of(root / model))
    engine.close()
