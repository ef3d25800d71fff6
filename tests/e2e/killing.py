"""A server that is killed at random moments while clients use it, and what must hold of its jobs afterwards."""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from minimon_server.engines.files import png_size
from tests.e2e.asking import NOBODY
from tests.e2e.drawing_server import DrawingServer
from tests.e2e.running import PATIENCE


@dataclass
class Promises:
    """What clients were told: ids that were accepted, ids whose cancel was confirmed, ends that were seen."""

    accepted: dict[str, str] = field(default_factory=dict)  # id: prompt
    keys: dict[str, str] = field(default_factory=dict)  # key: id
    cancelled: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)  # id: state


class Customer(threading.Thread):
    """Submits, looks and cancels until it is told to stop; an answer that does not come promises nothing."""

    def __init__(self, address: str, promises: Promises, number: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self._client = httpx2.Client(base_url=address, trust_env=False, verify=NOBODY, timeout=PATIENCE)
        self._promises = promises
        self._name = f"{number}-{seed}"
        self._dice = random.Random(f"{number} {seed}")
        self._count = 0

    def run(self) -> None:
        with self._client:
            while not self.stopped.is_set():
                try:
                    self._act()
                except httpx2.TransportError:
                    return  # it was killed
                self.stopped.wait(0.002)

    def _act(self) -> None:
        promises, throw = self._promises, self._dice.random()
        if throw < 0.6 or not promises.accepted:
            self._submit()
            return
        job = self._dice.choice(list(promises.accepted))
        if throw < 0.7:
            if self._client.delete(f"/jobs/{job}").status_code == 200:
                promises.cancelled.add(job)
            return
        answer = self._client.get(f"/status/{job}")
        assert answer.status_code == 200, answer.text
        if (state := answer.json()["state"]) in ("SUCCESS", "FAILURE", "REVOKED"):
            promises.ended[job] = state

    def _submit(self) -> None:
        self._count += 1
        prompt = f"picture {self._name} {self._count}"
        body = {
            "prompt": prompt,
            "model": "tiny",
            "steps": self._dice.randint(1, 6),
            "count": self._dice.choice((1, 2)),
        }
        for _ in range(self._dice.choice((1, 2))):  # a client that did not hear the answer asks again
            answer = self._client.post("/generate", json=body, headers={"Idempotency-Key": prompt.replace(" ", "-")})
            if answer.status_code == 202:
                job = answer.json()["job_id"]
                assert self._promises.keys.setdefault(prompt, job) == job
                self._promises.accepted[job] = prompt


def kill_again_and_again(folder: Path, kills: int, seed: int) -> Promises:
    """Start a server, use it, kill it, `kills` times over on the same files; then let it end its work, and check."""
    dice = random.Random(seed)
    promises = Promises()
    for number in range(kills):
        with server_in(folder) as server:
            customers = [Customer(server.http, promises, one, seed * 1000 + number) for one in range(3)]
            for customer in customers:
                customer.start()
            time.sleep(dice.uniform(0, 0.4))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait(PATIENCE)
            for customer in customers:
                customer.stopped.set()
                customer.join(PATIENCE)
    with (
        server_in(folder) as server,
        httpx2.Client(base_url=server.http, trust_env=False, verify=NOBODY, timeout=PATIENCE) as client,
    ):
        wait_for_all(client)
        check(client, promises, folder)
    return promises


def server_in(folder: Path) -> DrawingServer:
    """Return a server whose pictures take a moment each."""
    return DrawingServer(
        folder,
        CRAYON_STEP_SECONDS="0.004",
        CRAYON_DIARY=str(folder / "diary"),
        MINIMON_QUEUE_LIMIT="100000",
        MINIMON_QUEUE_LIMIT_PER_CLIENT="100000",
        MINIMON_HISTORY_LIMIT="100000",
    )


def wait_for_all(client: httpx2.Client) -> None:
    """Return when no job waits or runs any longer."""
    deadline = time.monotonic() + PATIENCE * 4
    while True:
        counts = client.get("/jobs?limit=1").json()["counts"]
        if not counts["PENDING"] and not counts["PROGRESS"]:
            return
        assert time.monotonic() < deadline, counts
        time.sleep(0.05)


def check(client: httpx2.Client, promises: Promises, folder: Path) -> None:
    """No accepted job lost, none made twice into two pictures, none falsely done."""
    assert promises.accepted
    drawn = Counter(
        line.split(" ", 1)[1] for line in (folder / "diary").read_text().splitlines() if line[:5] == "ended"
    )
    named: set[str] = set()
    for job, prompt in promises.accepted.items():
        answer = client.get(f"/status/{job}")
        assert answer.status_code == 200, f"{job} was accepted and is lost"
        told = answer.json()
        assert told["request"]["prompt"] == prompt
        assert told["state"] == promises.ended.get(job, told["state"])
        if job in promises.cancelled:
            assert told["state"] == "REVOKED"
        if told["state"] == "SUCCESS":
            assert drawn[prompt] >= 1, "done, and never drawn"
            for number, name in enumerate(told["result"]["filenames"], 1):
                picture = client.get(f"/image/{job}?n={number}")
                assert png_size(picture.content) == (64, 64)
                assert prompt.encode() in picture.content
                named.add(name)
        elif told["state"] == "FAILURE":
            assert told["error"] == "interrupted twice"
            assert told["attempt"] == 2
    journal = sqlite3.connect(f"file:{folder / 'jobs' / 'jobs.sqlite'}?mode=ro", uri=True)
    ids = {row[0] for row in journal.execute("SELECT id FROM jobs")}
    journal.close()
    unheard = ids - set(promises.accepted)
    for job in unheard:  # accepted, but the answer was cut off by the kill: they end as well
        told = client.get(f"/status/{job}").json()
        assert told["state"] in ("SUCCESS", "FAILURE", "REVOKED")
        named.update((told["result"] or {"filenames": []})["filenames"])
    assert {path.name for path in (folder / "jobs" / "outputs").iterdir()} == named
