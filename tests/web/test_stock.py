"""Creatures out of the stock, and those that are given again, over the whole application. A crayon draws."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from minimon_server.creatures.rarity import RARITIES
from minimon_server.jobs.worker import Worker
from minimon_server.web import creature_parts
from tests.crayon import Crayon, drawing_with
from tests.support import app_under_test, settings_for
from tests.web.drawn_scene import PATIENCE, Drawn, drawn, environment

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


def until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, otherwise
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


def test_metrics_tell_the_stock_by_rarity(scene: Drawn) -> None:
    until_full(scene)
    for _ in range(2):
        assert scene.client.get("/v1/generate", params={"rarity": "F"}).status_code == 200
    scene.client.get("/v1/generate?seed=5&rarity=A")
    until_full(scene)
    told = {
        (one.name, one.labels.get("rarity")): one.value
        for family in text_string_to_metric_families(scene.client.get("/metrics").text)
        for one in family.samples
    }
    assert {rarity: told["minimon_stock", rarity] for rarity in WANTED} == WANTED
    assert {rarity: told["minimon_stock_wanted", rarity] for rarity in WANTED} == WANTED
    assert (told["minimon_stock_given_total", "F"], told["minimon_stock_given_total", "A"]) == (2, 0)
    assert told["minimon_stock_refilled_total", "F"] == WANTED["F"] + 2
    assert told["minimon_creatures_on_demand_total", "A"] == 1
    assert told["minimon_stock_discarded_total", None] == 0


def test_an_idle_engine_gives_its_memory_back_though_the_stock_is_full(scene: Drawn) -> None:
    until_full(scene)
    worker = scene.server.jobs.worker
    assert isinstance(worker, Worker)

    def loaded() -> bool:
        return worker.loaded is not None

    assert loaded()
    worker.idling._monotonic = lambda: time.monotonic() + 1e6  # a long time later
    until(lambda: worker.given_back == 1, "a full stock kept the engine loaded")
    assert not loaded()
    assert counts(scene) == WANTED
    assert scene.client.get("/ready").status_code == 200
    assert scene.client.get("/v1/generate?rarity=F").status_code == 200  # from the stock, without an engine
    until_full(scene)
    assert loaded()  # what was taken is drawn anew
    assert worker.given_back == 1
    worker.idling._monotonic = lambda: time.monotonic() + 2e6
    until(lambda: worker.given_back == 2, "it was not given back again")
    assert scene.client.get("/v1/generate?seed=1").status_code == 200  # the next creature that is drawn loads it
    assert loaded()


def test_check_tells_what_it_finds_in_the_stock_and_changes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    def said(**environ: str) -> list[str]:
        lines: list[str] = []
        monkeypatch.setattr(creature_parts, "find_drawing", lambda *_: drawing_with(Crayon()))
        here = {"SDXL_TURBO_MODEL": "tiny", "MINIMON_STOCK": "2"} | environ
        creature_parts.check_creatures(settings_for(tmp_path, **environment(tmp_path) | here), lines.append)
        return lines

    folder = tmp_path / "data" / "stock"
    assert said() == []
    assert not folder.exists()
    with drawn(tmp_path, tmp_path, drawing_with(Crayon()), SDXL_TURBO_MODEL="tiny", MINIMON_STOCK="2") as made:
        made.wait_until_ready()
        until_full(made)
    kept = on_disk(tmp_path)
    assert said() == [f"MINIMON_STOCK_DIR: {sum(WANTED.values())} creatures are kept in {folder}."]
    (other,) = said(SDXL_STEPS="7")
    assert other.startswith(f"WARNING: MINIMON_STOCK_DIR: the start will throw away {sum(WANTED.values())} creatures")
    assert on_disk(tmp_path) == kept
    assert said(MINIMON_STOCK="0") == []
    (tmp_path / "file").write_text("x")
    assert "is no folder: the stock would be kept in memory alone" in said(MINIMON_STOCK_DIR=str(tmp_path / "file"))[0]
    assert "cannot be made in" in said(MINIMON_STOCK_DIR=str(tmp_path / "file" / "stock"))[0]
    with drawn(
        tmp_path, tmp_path, drawing_with(Crayon()), SDXL_TURBO_MODEL="tiny", MINIMON_STOCK="2", SDXL_STEPS="7"
    ) as made:
        until_full(made)
        discarded = f"\nminimon_stock_discarded_total {float(sum(WANTED.values()))}\n"
        assert discarded in made.client.get("/metrics").text


def test_creatures_of_files_are_given_again_too(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        first = bench.client.get("/v1/generate?seed=7&rarity=S").json()
        assert bench.client.get(f"/v1/creatures/{first['metadata']['id']}").json() == first
