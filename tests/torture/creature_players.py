"""Players who ask a real server for creatures, several at once, and a count of what they were given. Judges nothing."""

from __future__ import annotations

import base64
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from minimon_server.engines.files import png_size
from tests.e2e.running import RunningServer

SIDE = 64  # pixels, the least that SDXL_WIDTH and SDXL_HEIGHT take
PLAYERS = 4
PATIENCE = 300.0  # seconds, for a model that loads while other programs use the cores
WISHED = 0.2  # of all creatures are asked for by their rarity, of which the rare shelves are soon empty
COMMON = 5  # rarities, from F on, that are wished for


@dataclass
class Given:
    """All that was given out, over all lives of the server; `add` may be called by several threads."""

    ids: list[str] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)  # SHA-256 of the PNG
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answer: dict[str, Any]) -> None:
        """Count one whole answer, which must hold a picture of the asked size."""
        png = base64.b64decode(answer["imageBase64"], validate=True)
        assert png_size(png) == (SIDE, SIDE)
        with self._lock:
            self.ids.append(answer["metadata"]["id"])
            self.pictures.append(sha256(png).digest())

    def check(self) -> None:
        """Nobody got what somebody else got: no id twice, and no picture under two ids."""
        assert len(set(self.ids)) == len(self.ids), "an id was given out twice"
        assert len(set(self.pictures)) == len(self.pictures), "a picture was given out twice"


class Crowd:
    """Players of one life of a server; `ask` starts them, `rest` waits until they have got what they wanted."""

    def __init__(self, server: RunningServer, given: Given, seed: int) -> None:
        self._server, self._given = server, given
        self._dice = random.Random(seed)
        self._killed = threading.Event()
        self._threads = ThreadPoolExecutor(PLAYERS)
        self._asking: list[Future[None]] = []
        self._heard = 0  # answers before they began to ask

    def ask(self, creatures: int) -> None:
        """Begin to ask for so many, shared out among the players."""
        shares = [len(range(number, creatures, PLAYERS)) for number in range(PLAYERS)]
        self._heard = len(self._given.ids)
        self._asking = [self._threads.submit(self._play, share, self._dice.getrandbits(64)) for share in shares]

    def wait(self, answers: int) -> None:
        """Return when they have got so many of what they ask for; raise what one of them met before."""
        while len(self._given.ids) < self._heard + answers:
            for one in self._asking:
                if one.done():
                    one.result()
            time.sleep(0.001)

    def rest(self) -> None:
        """Return when all of them are through; raise what one of them met."""
        for one in self._asking:
            one.result(PATIENCE * 4)

    def end(self) -> None:
        """Kill the server, whatever it is doing, and let the players notice."""
        self._killed.set()
        self._server.process.kill()
        self._server.process.wait(PATIENCE)
        self.rest()
        self._threads.shutdown()

    def _play(self, creatures: int, seed: int) -> None:
        dice = random.Random(seed)
        with self._server.client() as client:
            client.timeout = PATIENCE
            for _ in range(creatures):
                wish = {"rarity": dice.choice("FEDCBAS"[:COMMON])} if dice.random() < WISHED else {}
                try:
                    answer = client.get("/v1/generate", params=wish)
                except httpx2.TransportError:
                    if self._killed.is_set():
                        return  # what it did not hear, it did not get
                    raise
                assert answer.status_code == 200, answer.text
                self._given.add(answer.json())


def server_in(folder: Path, models: Path, **environ: str) -> RunningServer:
    """Return a server as its users start it, which draws 64x64 pixels in one step with the model `small`."""
    settings = {
        "MINIMON_GENERATION_BACKEND": "sdxl",
        "MINIMON_MODELS_DIR": str(models),
        "MINIMON_DEVICE": "cpu",
        "MINIMON_RATE_LIMIT_PER_MIN": "0",
        "SDXL_TURBO_MODEL": "small",
        "SDXL_WIDTH": str(SIDE),
        "SDXL_HEIGHT": str(SIDE),
        "SDXL_STEPS": "1",
        "OMP_NUM_THREADS": "1",  # such a small model gains nothing by more
    }
    return RunningServer(folder, **settings | environ)


def stock_of(client: httpx2.Client) -> int:
    """Return how many creatures are kept ready."""
    found: dict[str, int] = client.get("/ready").json()["checks"]["creatures"]["stock"]
    return sum(found.values())


def until_stock(client: httpx2.Client, least: int) -> None:
    """Return once so many are kept ready; fail when none was added for `PATIENCE` seconds."""
    most, deadline = -1, time.monotonic() + PATIENCE
    while (found := stock_of(client)) < least:
        if found > most:
            most, deadline = found, time.monotonic() + PATIENCE
        assert time.monotonic() < deadline, f"the stock holds {found} of {least}, and none is added"
        time.sleep(0.1)


def counted(client: httpx2.Client, name: str) -> int:
    """Return a family of `/metrics`, added up over all rarities."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [one for family in families for one in family.samples if one.name == name]
    assert samples, f"/metrics has no {name}"
    return round(sum(one.value for one in samples))
