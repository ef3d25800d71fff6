"""A picture drawn by the real engine, made again from its file by a server that was started anew and drew others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from minimon_server.engines.picture_reading import told_in
from tests.e2e.running import RunningServer
from tests.small_pipeline import build

SMALL = {"steps": 3, "width": 64, "height": 64}


def server_in(folder: Path) -> RunningServer:
    return RunningServer(
        folder, MINIMON_MODELS_DIR=str(folder / "models"), MINIMON_DEVICE="cpu", MINIMON_RATE_LIMIT_PER_MIN="0"
    )


def picture_of(client: httpx2.Client, accepted: httpx2.Response) -> httpx2.Response:
    assert accepted.status_code == 202, accepted.text
    while (answer := client.get(f"/image/{accepted.json()['job_id']}?wait=10")).status_code == 202:
        pass  # the libraries are imported at the first job, which takes seconds
    assert answer.status_code == 200, answer.text
    return answer


def digests(file: bytes) -> dict[str, str]:
    """Return what a file tells the weights by that made it."""
    told = told_in(file)
    hashes = told["hashes"]
    return {
        "model_fingerprint": told["model_fingerprint"],
        "hashes.model": hashes["model"],
        "hashes.vae": hashes["vae"],
    }


def again(client: httpx2.Client, file: bytes, kind: str) -> httpx2.Response:
    return client.post("/replay", content=file, headers={"Content-Type": f"image/{kind}"}, timeout=60)


# Two starts that import torch. In one process: tests/web/test_replay.py; in many, without HTTP: test_same_files.py.
@pytest.mark.torture
def test_a_file_makes_the_same_file_after_a_restart(tmp_path: Path) -> None:
    kind = "avif"
    build(tmp_path / "models" / "small")
    wish: dict[str, Any] = {"prompt": "a red cat ❤", "seed": 7, "scheduler": "DPM++ 2M SDE Karras", "format": kind}
    with server_in(tmp_path) as server, server.client() as client:
        accepted = client.post("/generate", json=wish | SMALL)
        assert accepted.json()["scheduler"] == "dpmpp_2m_sde_karras"
        first = picture_of(client, accepted)
        assert first.headers["content-type"] == f"image/{kind}"
        assert server.end() == 0
    with server_in(tmp_path) as server, server.client() as client:
        picture_of(client, client.post("/generate", json=SMALL | {"prompt": "another", "scheduler": "heun", "seed": 1}))
        replayed = again(client, first.content, kind)
        assert replayed.json()["differences"] == []
        assert picture_of(client, replayed).content == first.content
        assert server.end() == 0
    build(tmp_path / "models" / "small", seed=1)
    with server_in(tmp_path) as server, server.client() as client:
        replayed = again(client, first.content, kind)
        then, now = digests(first.content), digests(picture_of(client, replayed).content)
        assert all(then[name] != now[name] for name in then)
        assert replayed.json()["differences"] == [{"what": name, "then": then[name], "now": now[name]} for name in then]
        assert server.end() == 0
