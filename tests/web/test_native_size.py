"""The model that ships with the server, as its clients meet it: a small one of one size behind the real routes."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from minimon_server.catalog.stock import CATALOGUE
from minimon_server.jobs.equipment import find_drawing
from minimon_server.web.model_schemas import ModelList
from tests.jobs.scene import quiet
from tests.small_pipeline import build
from tests.support import HOME, app_under_test, settings_for

ENGLISH = {"Accept-Language": "en"}
NOTES = {"name": "Small one", "licence": "MIT", "steps": 3, "guidance_scale": 2.5, "native_size": 64}


@dataclass(frozen=True)
class Server:
    """A client of the real application over the real engine."""

    client: TestClient
    models: Path

    def generate(self, **body: object) -> Any:
        return self.client.post("/generate", json={"prompt": "a red cat", **body}, headers=ENGLISH)

    def drawn(self, **body: object) -> Any:
        """Return the answer of `/image`."""
        answer = self.generate(**body)
        assert answer.status_code == 202, answer.text
        found = self.client.get(f"/image/{answer.json()['job_id']}?wait=100")
        assert found.status_code == 200, found.text
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server with the shipped catalogue, of whose models only `minimon-tiny` is there, as a small folder."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("server")
    models = folder / "models"
    models.mkdir()
    shutil.copy(HOME / "models" / CATALOGUE, models)
    (build(models / "minimon-tiny") / "minimon.json").write_text(json.dumps(NOTES))
    drawing = find_drawing(settings_for(folder, MINIMON_DEVICE="cpu"), quiet())
    with app_under_test(folder, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}, drawing=drawing) as bench:
        yield Server(bench.client, models)


def test_who_names_no_model_gets_it_with_its_own_defaults_and_is_told_so(server: Server) -> None:
    answer = server.drawn()
    told = json.loads(answer.headers["x-generation-metadata"])
    wanted = {"model": "minimon-tiny", "steps": 3, "guidance_scale": 2.5, "width": 64, "height": 64, "scheduler": None}
    assert {name: told[name] for name in wanted} == wanted
    assert "drawn_at" not in told
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (64, 64)
    assert json.loads(picture.info["minimon"])["model"] == "minimon-tiny"


def test_models_say_that_it_is_there_and_at_what_size_it_draws(server: Server) -> None:
    answer = server.client.get("/models", headers=ENGLISH).json()
    ModelList.model_validate(answer)
    lines = {line["id"]: line for line in answer["models"]}
    tiny = lines.pop("minimon-tiny")
    assert (tiny["available"], tiny["licence"], tiny["native_size"]) == (True, "MIT", 64)
    assert (tiny["defaults"]["steps"], tiny["defaults"]["guidance_scale"]) == (3, 2.5)
    assert (tiny["defaults"]["width"], tiny["defaults"]["height"]) == (64, 64)
    assert lines
    assert all(not line["available"] and line["native_size"] is None for line in lines.values())


def test_another_size_is_the_same_picture_resampled_and_says_so_everywhere(server: Server) -> None:
    own = Image.open(io.BytesIO(server.drawn(seed=5).content))
    answer = server.drawn(seed=5, width=256)
    told = json.loads(answer.headers["x-generation-metadata"])
    assert (told["width"], told["height"], told["drawn_at"]) == (256, 256, "64x64")
    large = Image.open(io.BytesIO(answer.content))
    assert large.size == (256, 256)
    assert large.tobytes() == own.resize((256, 256), Image.Resampling.LANCZOS).tobytes()
    assert json.loads(large.info["minimon"])["drawn_at"] == "64x64"
    assert "Size: 256x256, Drawn at: 64x64" in large.info["parameters"]
    result = server.client.get(f"/status/{answer.headers['x-job-id']}").json()
    assert (result["result"]["width"], result["result"]["height"]) == (256, 256)
    assert (result["request"]["width"], result["request"]["native_size"]) == (256, 64)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_its_file_makes_itself_again(server: Server, kind: str) -> None:
    first = server.drawn(seed=5, width=192, height=128, format=kind)
    headers = {"Content-Type": f"image/{kind}", **ENGLISH}
    again = server.client.post("/replay", content=first.content, headers=headers)
    assert (again.status_code, again.json().get("differences")) == (202, []), again.text
    assert server.client.get(f"/image/{again.json()['job_id']}?wait=100").content == first.content


def test_a_second_pass_is_refused_in_words(server: Server) -> None:
    answer = server.generate(hires={"scale": 2})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "field": "hires",
            "message": "not with this model, which always draws at 64x64; ask for the size by width and height",
        }
    ]


def test_a_model_that_is_asked_for_by_name_is_never_replaced_by_it(server: Server) -> None:
    answer = server.generate(model="sdxl-base")
    assert (answer.status_code, answer.json()["code"]) == (503, "MODEL_NOT_AVAILABLE")
    assert answer.json()["detail"] == ("sdxl-base is not on the disk. python download_models.py --model sdxl-base")


def test_a_model_before_it_in_the_catalogue_serves_as_soon_as_it_is_there(server: Server) -> None:
    shutil.copytree(server.models / "minimon-tiny", server.models / "sdxl-turbo")
    try:
        answer = server.generate()
        request = server.client.get(f"/status/{answer.json()['job_id']}").json()["request"]
        assert request["model"] == "sdxl-turbo"
    finally:
        shutil.rmtree(server.models / "sdxl-turbo")


@pytest.mark.parametrize("prompt", ["🐉🔥", "喵喵", "zzz " * 2000, " "])
def test_any_prompt_gives_a_picture(server: Server, prompt: str) -> None:
    assert server.drawn(prompt=prompt).headers["content-type"] == "image/png"
