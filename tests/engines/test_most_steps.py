"""How many steps a scheduler takes at the most: what is told before the queue is what the library takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest

from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.schedulers import most_steps
from minimon_server.engines.sdxl_schedulers import fresh
from minimon_server.logs import Logger


@pytest.mark.parametrize(
    ("own", "most"),
    [
        (diffusers.EulerDiscreteScheduler(), 50),  # type: ignore[no-untyped-call]
        (diffusers.LCMScheduler(original_inference_steps=20), 20),  # type: ignore[no-untyped-call]
        (diffusers.TCDScheduler(), 50),  # type: ignore[no-untyped-call]
    ],
)
def test_the_most_steps_are_those_that_the_library_takes(own: Any, most: int) -> None:
    told = dict(most_steps({"_class_name": type(own).__name__, **own.config}))
    assert (None in told) is (type(own) is not diffusers.EulerDiscreteScheduler)
    assert {"lcm", "tcd"} <= told.keys()
    for name in (None, "lcm", "tcd", "euler", "dpmpp_2m"):
        assert told.get(name, most) == most
        fresh(own, name).set_timesteps(most)
        if name in told:
            with pytest.raises(ValueError, match="num_inference_steps"):
                fresh(own, name).set_timesteps(most + 1)
        else:
            fresh(own, name).set_timesteps(most + 1)


def test_a_folder_tells_the_most_steps_of_its_model(models: Path, tmp_path: Path, quiet: Logger) -> None:
    shutil.copytree(models / "small", tmp_path / "few")
    file = tmp_path / "few" / "scheduler" / "scheduler_config.json"
    own = json.loads(file.read_bytes()) | {"_class_name": "LCMScheduler", "original_inference_steps": 20}
    file.write_text(json.dumps(own))
    (few,) = ModelFolders(tmp_path, quiet).infos()
    assert dict(few.most_steps) == {"lcm": 20, "tcd": 20, None: 20}
    (small,) = (one for one in ModelFolders(models, quiet).infos() if one.id == "small")
    assert dict(small.most_steps) == {"lcm": 50, "tcd": 50}
