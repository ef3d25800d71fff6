"""A running server whose catalogue is edited, rightly and wrongly, and whose folders of models change under it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.catalog.files import SDXL, write
from tests.e2e.running import HOME, PATIENCE, RunningServer, run_to_end

HOSTILE = {
    "wrong type": "[[model]]\nid = 3\n",
    "unknown member": "schema = 1\nmodles = 3\n",
    "escape": 'schema = 1\n[[lora]]\nid = "a"\nname = "A"\nfile = "../../certs/key.pem"\n',
    "no id": 'schema = 1\n[[model]]\nid = "a/../b"\nname = "A"\nkind = "diffusers"\n',
    "twice": "schema = 1\n" + 2 * '[[lora]]\nid = "a"\nname = "A"\n',
    "huge": "#" * 3_000_000,
    "deep": "schema = " + "[" * 200_000,
    "digits": "schema = " + "1" * 200_000,
    "syntax": "schema = = 1",
}


def told(server: RunningServer) -> Any:
    with server.client() as client:
        answer = client.get("/ready")
    assert answer.status_code == 200  # the last good catalogue serves: nothing to take the server out for
    return answer.json()["checks"]["models"]["catalog"]


def until_told(server: RunningServer, wanted: str | None) -> Any:
    """Return what /ready says of the catalogue once it is `ok`, or a list of which one line holds `wanted`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = told(server)
        if found == "ok" if wanted is None else any(wanted in line for line in found if found != "ok"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_no_catalogue_stops_a_running_server_and_the_last_good_one_stays(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    catalogue = models / "catalog.toml"
    shutil.copy(HOME / "models" / "catalog.toml", catalogue)
    good = catalogue.read_text("utf-8")
    with RunningServer(tmp_path, MINIMON_MODELS_DIR=str(models)) as server:
        assert until_told(server, None) == "ok"
        with server.client() as client:
            before = client.get("/models").json()
            loras = client.get("/loras").json()
            for text in HOSTILE.values():
                catalogue.write_text(text, "utf-8")
                assert client.get("/models").json() == before
                assert client.get("/loras").json() == loras
                assert told(server) != "ok"
            write(models / "checkpoints" / "mine.safetensors", SDXL)
            assert [one["id"] for one in client.get("/models").json()["models"]][-1] == "mine"
            catalogue.write_text(good.replace('"SDXL Base 1.0"', '"Another name"'), "utf-8")
            assert client.get("/models").json()["models"][0]["name"] == "Another name"
            assert told(server) == "ok"
        catalogue.write_text("schema = 1\n[[model]]\nid = 'Ü'\n", "utf-8")
        (line, *_) = until_told(server, "line 3: model Ü: id")  # though nobody asked for models
        assert line.startswith("catalog.toml: line 3: ")
        assert server.end() == 0
        log = server.log.read_text()
    assert log.count("catalogue not used; the last good one stays") == len(HOSTILE) + 1
    assert "Traceback" not in log


@pytest.mark.parametrize("text", ["schema = 3\n", None])
def test_a_server_starts_with_a_bad_catalogue_or_none(tmp_path: Path, text: str | None) -> None:
    models = tmp_path / "models"
    models.mkdir()
    if text is not None:
        (models / "catalog.toml").write_text(text)
    with RunningServer(tmp_path, MINIMON_MODELS_DIR=str(models)) as server:
        until_told(server, None if text is None else "schema")
        with server.client() as client:
            assert client.get("/models").json() == {"models": []}
            assert client.post("/generate", json={"prompt": "a"}).status_code == 503
        assert server.end() == 0


def test_a_check_tells_what_is_wrong_with_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text("schema = 1\n\nmodles = 3\n")
    done = run_to_end("--check", cwd=tmp_path, MINIMON_MODELS_DIR=".")
    assert f"WARNING: {tmp_path / 'catalog.toml'}: line 3: modles: is no member; did you mean model?" in done.stderr
    assert done.returncode == 0
