"""Creatures out of the stock, and those that are given again, over the whole application. A crayon draws."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimon_server.creatures.rarity import RARITIES
from tests.crayon import Crayon, drawing_with
from tests.support import app_under_test
from tests.web.drawn_scene import PATIENCE, Drawn, drawn

WANTED = {"F": 5, "E": 4, "D": 3, "C": 2, "B": 1, "A": 1, "S": 1, "S+": 1}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Drawn]:
    tokens = {"MINIMON_BEARER_TOKEN": "all", "MINIMON_PLAY_TOKEN": "play"}
    crayon = drawing_with(Crayon())
    with drawn(tmp_path, tmp_path, crayon, SDXL_TURBO_MODEL="tiny", MINIMON_STOCK="2", **tokens) as made:
        made.client.headers["Authorization"] = "Bearer all"
        made.wait_until_ready()
        yield made


def counts(scene: Drawn) -> dict[str, int]:
    found = scene.client.get("/ready").json()["checks"]["creatures"]["stock"]
    assert isinstance(found, dict)
    return found


def until_full(scene: Drawn) -> None:
    deadline = time.monotonic() + PATIENCE
    while counts(scene) != WANTED:
        assert time.monotonic() < deadline, counts(scene)
        time.sleep(0.02)


def on_disk(folder: Path) -> set[str]:
    return {path.name[2:].removesuffix(".creature") for path in (folder / "data" / "stock").iterdir()}


def test_creatures_come_from_the_shelf_of_their_rarity_and_a_seed_from_none(scene: Drawn, tmp_path: Path) -> None:
    until_full(scene)
    kept = on_disk(tmp_path)
    assert len(kept) == sum(WANTED.values()) - len(RARITIES)  # one of each is at hand: a quarter of so few
    given = [scene.client.get("/v1/generate", params={"rarity": "F"}).json()["metadata"] for _ in range(6)]
    assert {one["rarity"] for one in given} == {"F"}
    ids = [one["id"] for one in given]
    assert len(set(ids)) == 6
    assert kept & set(ids)
    assert not on_disk(tmp_path) & set(ids)
    until_full(scene)
    seeded = scene.client.get("/v1/generate?seed=5").json()
    assert seeded["metadata"]["id"] == scene.client.get("/v1/generate?seed=5").json()["metadata"]["id"]
    assert counts(scene) == WANTED


def test_an_engine_that_is_busy_holds_up_nobody_while_there_is_stock(scene: Drawn) -> None:
    until_full(scene)
    job = {"prompt": "wait", "model": "tiny", "width": 64, "height": 64}
    assert scene.client.post("/generate", json=job).status_code == 202  # waits at each step, for ever
    assert scene.client.get("/v1/generate?rarity=S%2B").status_code == 200
    assert scene.client.get("/v1/generate?rarity=F").status_code == 200


def test_a_creature_is_given_again_as_it_was(scene: Drawn) -> None:
    first = scene.client.get("/v1/generate").json()
    where = f"/v1/creatures/{first['metadata']['id']}"
    again = scene.client.get(where, headers={"Authorization": "Bearer play"})
    assert (again.status_code, again.json()) == (200, first)
    bare = scene.client.get(where, headers={"Accept": "image/png"})
    assert bare.content == base64.b64decode(first["imageBase64"])
    assert bare.headers["x-minimon-name"] == first["metadata"]["name"]
    nobody = scene.client.get("/v1/creatures/mnm_000000000000000000000000")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "NOT_FOUND")
    assert scene.client.get(where, params={"x": "y"}).status_code == 422


def test_creatures_of_files_are_given_again_too(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        first = bench.client.get("/v1/generate?seed=7&rarity=S").json()
        assert bench.client.get(f"/v1/creatures/{first['metadata']['id']}").json() == first
