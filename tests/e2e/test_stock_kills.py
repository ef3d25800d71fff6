"""No creature of the stock is given out twice, whatever kills the process; a proper end loses none of them."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.e2e.drawing_server import DrawingServer
from tests.e2e.running import PATIENCE

WANTED = 18  # of MINIMON_STOCK=2: 5 F, 4 E, 3 D, 2 C and one of each other
SETTINGS = {
    "MINIMON_GENERATION_BACKEND": "sdxl",
    "MINIMON_STOCK": "2",
    "SDXL_TURBO_MODEL": "tiny",
    "SDXL_WIDTH": "64",
    "SDXL_HEIGHT": "64",
}


def until_full(server: DrawingServer) -> None:
    deadline = time.monotonic() + PATIENCE
    with server.client() as client:
        while True:
            found = client.get("/ready").json()["checks"]["creatures"]["stock"]
            if sum(found.values()) == WANTED:
                return
            assert time.monotonic() < deadline, found
            time.sleep(0.05)


def given(server: DrawingServer, rarities: str) -> list[str]:
    with server.client() as client:
        return [client.get("/v1/generate", params={"rarity": one}).json()["metadata"]["id"] for one in rarities]


def kept(folder: Path) -> set[str]:
    return {path.name[2:].removesuffix(".creature") for path in (folder / "stock").glob("*.creature")}


def test_nobody_gets_a_creature_twice_across_kills_and_the_rest_is_still_there(tmp_path: Path) -> None:
    every: list[str] = []
    for kill in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        before = kept(tmp_path) if (tmp_path / "stock").exists() else set()
        with DrawingServer(tmp_path, **SETTINGS) as server:
            until_full(server)
            fresh = given(server, "FFFFFFEEEDDC")
            assert not before or before & set(fresh), "what was kept before is given out first"
            every += fresh
            if kill is signal.SIGTERM:
                until_full(server)
            server.end(kill)
        assert not kept(tmp_path) & set(every)
    assert len(every) == len(set(every))
    assert len(kept(tmp_path)) == WANTED
