"""A small model of random weights, built once a session, and the places where tests fetch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.catalog import fetch_scene, hub_scene
from tests.catalog.hub_server import COMMIT, serving


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder that holds `small`."""
    import torch

    from tests.small_pipeline import build

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    build(root / "small")
    return root


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fetch_scene.Place]:
    """Return one file on a server, and a folder for it."""
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as server:
        server.files[fetch_scene.FILE] = fetch_scene.DATA
        folder = tmp_path / "models"
        folder.mkdir()
        yield fetch_scene.Place(server, folder)


@pytest.fixture
def here(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[hub_scene.Place]:
    """Return a folder of models, and a hub."""
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as server:
        files = hub_scene.pipeline(models)
        server.put(hub_scene.REPOSITORY, files)
        weights = "diffusion_pytorch_model.safetensors"
        server.put(hub_scene.VAE, {name: files[f"vae/{name}"] for name in ("config.json", weights)})
        server.files[f"/someone/single/resolve/{COMMIT}/v6.safetensors"] = hub_scene.SINGLE
        server.files["/neon"] = hub_scene.SINGLE
        root = tmp_path / "models"
        root.mkdir()
        data = hub_scene.SINGLE
        text = hub_scene.CATALOGUE.replace("@HASH@", hashlib.sha256(data).hexdigest())
        text = text.replace("@SIZE@", str(len(data))).replace("@URL@", server.url)
        (root / "catalog.toml").write_text(text)
        yield hub_scene.Place(server, root, capsys)
