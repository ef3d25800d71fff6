"""What `make run` and `make run-light` start, in environments that hold what each list names and no more.

Nothing is installed here: each environment is made of links to the packages that the tests run with, and marked as
done, so that of a target its last line alone is left to do.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minimon_server.catalog.stock import CATALOGUE
from minimon_server.engines.files import png_size
from tests.e2e.asking import ask
from tests.e2e.running import HOME, RunningServer

SHIPPED = HOME / "models" / "minimon-tiny"
LINE = "Run 'make run' in the server's folder, or: python -m pip install -r requirements.txt"

pytestmark = pytest.mark.skipif(
    not shutil.which("make") and os.environ.get("CI") != "true", reason="make is not installed here"
)


def environment(folder: Path, lists: tuple[str, ...], done: tuple[str, ...]) -> Path:
    """Return a virtual environment with the packages of some lists, marked with what the Makefile looks for."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = (venv / "lib").glob("python*/site-packages")
    for name in lists:
        for line in (HOME / name).read_text().splitlines():
            if pinned := re.match(r"([a-z0-9-]+)==[^;]+(; )?", line):
                link(pinned[1], packages)
    for name in done:
        (venv / name).touch()
    return venv


def link(name: str, packages: Path) -> None:
    """Put what belongs to one installed package into another environment."""
    found = importlib.metadata.distribution(name)
    tops = {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}
    assert tops, name
    for top in tops - {"__pycache__"}:
        there = Path(str(found.locate_file(top)))
        if there.exists() and not (packages / top).exists():
            (packages / top).symlink_to(there)


def models_in(folder: Path) -> Path:
    """Return a folder of models with the catalogue and `minimon-tiny`: the shipped one, or a small one in its place."""
    models = folder / "models"
    models.mkdir()
    shutil.copy(HOME / "models" / CATALOGUE, models)
    if SHIPPED.is_dir():
        (models / SHIPPED.name).symlink_to(SHIPPED)
    else:
        from tests.small_pipeline import build

        notes = {"steps": 8, "guidance_scale": 3, "native_size": 64}
        (build(models / SHIPPED.name) / "minimon.json").write_text(json.dumps(notes))
    return models


def made(folder: Path, target: str, venv: Path) -> RunningServer:
    """Return the server that a target starts, over models of its own; as its own process, which signals reach."""
    asked = ["make", "--no-print-directory", "-n", f"VENV={venv}", target]
    line = subprocess.run(asked, cwd=HOME, capture_output=True, text=True, check=True).stdout.strip()
    assert line == f"exec {venv}/bin/python gen-server.py"
    command = ["sh", "-c", f"cd '{HOME}' && {line}"]
    settings = {"MINIMON_MODELS_DIR": str(models_in(folder)), "MINIMON_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    return RunningServer(folder, command, **settings)


def test_make_run_answers_a_prompt_with_a_picture(tmp_path: Path) -> None:
    venv = environment(tmp_path, ("requirements-light.txt", "requirements.txt"), (".light", ".run"))
    with made(tmp_path, "run", venv) as server, server.client() as client:
        answer = client.post("/generate", json={"prompt": "a red fire minimon with horns"})
        assert answer.status_code == 202, answer.text
        until = f"/image/{answer.json()['job_id']}?wait=120"
        while (drawn := ask("GET", server.http + until, timeout=150)).status_code == 202:
            pass
        assert drawn.status_code == 200, drawn.text
        told = json.loads(drawn.headers["x-generation-metadata"])
        assert (told["model"], told["steps"], told["guidance_scale"]) == ("minimon-tiny", 8, 3.0)
        assert png_size(drawn.content) == (told["width"], told["height"])
        assert "drawn_at" not in told


def test_make_run_light_serves_creatures_and_says_which_line_brings_the_rest(tmp_path: Path) -> None:
    venv = environment(tmp_path, ("requirements-light.txt",), (".light",))
    with made(tmp_path, "run-light", venv) as server, server.client() as client:
        assert client.get("/v1/generate").status_code == 200
        answer = client.post("/generate", json={"prompt": "a red fire minimon"}, headers={"Accept-Language": "en"})
        assert (answer.status_code, answer.json()["code"]) == (503, "ENGINE_UNAVAILABLE")
        detail = answer.json()["detail"]
        assert re.fullmatch(
            rf"Drawing prompts needs the Python package '\w+', which is not installed. {LINE}\.?", detail
        )
        assert "\n" not in detail
        (tiny,) = [one for one in client.get("/models").json()["models"] if one["id"] == "minimon-tiny"]
        assert tiny["available"] is False
