"""What `download_models.py` takes for a file, beside curl, huggingface_hub, and what its bytes take on this machine.

Every contender is a process from its start to its end, and fetches over loopback into a folder that is empty.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import disk
from bench.errors import BenchError
from bench.file_server import COMMIT, READY
from bench.machine import version
from bench.plan import Stage
from bench.ports import free_port
from bench.processes import Program, running
from bench.report import Figure, Part, Row

OURS, CURL, SYNCED = "ours", "curl, sha256sum", "curl, sha256sum, sync"
HUB, FLOOR = "huggingface_hub", "floor: the slowest of the three below"
WRITTEN, SENT, HASHED = "written and synced", "over loopback to nowhere", "SHA-256"
LARGE, SMALL = "large", "small"
SMALL_SIZE: Final = 1024
MIB: Final = 1 << 20
LIMIT_SECONDS: Final = 600.0
# `sync FILE` is coreutils' fsync of one file.
SCRIPT: Final = 'curl -sSf --noproxy "*" -o "$1" "$2" && echo "$3  $1" | sha256sum --check --status'
HUB_PROGRAM: Final = """import sys
from huggingface_hub import hf_hub_download
hf_hub_download(sys.argv[1], sys.argv[2], revision=sys.argv[3], local_dir=sys.argv[4])
"""


@dataclass(frozen=True)
class Served:
    """One file of the server: its name without the ending, how long it is, its SHA-256."""

    name: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        """Its name."""
        return f"{self.name}.safetensors"


@dataclass(frozen=True)
class Scene:
    """Where all of it happens: the repository, a folder for what comes, the server's port, what it has."""

    root: Path
    folder: Path
    port: int
    files: Mapping[str, Served]

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Took:
    """What the rounds of one contender took: seconds by the clock, and of the processor."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


# Whoever gets the file into an empty folder, and says where it lies; None where nothing is to be left.
Contender = Callable[[Scene, Served, Path], Path | None]


def measure(stage: Stage) -> Part:
    """Serve a large file and a small one, and let everybody fetch them by turns."""
    where = disk.file_system(stage.folder)
    skipped = () if shutil.which("curl") else ("curl is missing; install it with: apt-get install curl",)
    plan = stage.plan
    rows = rows_of(stage.root, stage.folder, plan.download_mib * MIB, plan.download_rounds)
    notes = (
        f"downloads: a file of {plan.download_mib} MiB by plain HTTP, from the memory of a process on this machine "
        f"to {where}; {plan.download_rounds} rounds in turn after one that does not count. Each contender is a process "
        "from its start to its end, Python's included: the small file shows what that is. Nothing is pinned to a core.",
        "ours checks size, SHA-256 and safetensors header, and syncs file and folder before the file gets its name. "
        f'"{CURL}" syncs nothing, "{SYNCED}" the file. huggingface_hub {version("huggingface_hub")} (hf_hub_download, '
        "local_dir, no Xet) checks the size alone and syncs nothing.",
        "The floors, each alone and by Python: as many bytes written in blocks of 1 MiB, then fsync; the file received "
        "and thrown away; as many bytes hashed. Nobody who does all three can be quicker than the slowest of them.",
    )
    return Part(tuple(rows), notes, skipped, contenders=(OURS, CURL, SYNCED, HUB, FLOOR))


def rows_of(root: Path, folder: Path, size: int, rounds: int, unmeasured: int = 1) -> list[Row]:
    """Measure with a file of `size` bytes; `root` is the repository, `folder` an empty one; as `raced` has it."""
    with serving(root, folder, size) as scene:
        large = raced(scene, scene.files[LARGE], {**contenders(), **FLOORS}, rounds, unmeasured)
        small = raced(scene, scene.files[SMALL], contenders(), rounds, unmeasured)
    mib = size / MIB
    floors = {name: large.pop(name).seconds for name in FLOORS}
    slowest = [max(turn) for turn in zip(*floors.values(), strict=True)]
    title = f"a file of {mib:,.0f} MiB"
    rates = {name: _rate(took.seconds, mib) for name, took in large.items()}
    costs = {name: Figure.of(took.cpu, 2) for name, took in large.items()}
    fixed = {name: Figure.of([1000 * one for one in took.seconds]) for name, took in small.items()}
    return [
        Row(f"{title}, MiB a second", {**rates, FLOOR: _rate(slowest, mib)}, compared=True),
        Row(f"{title}, processor's s", costs, compared=True),
        Row(f"a file of {SMALL_SIZE} bytes, ms", fixed, compared=True),
        *(Row(f"{title}, {name}, MiB a second", {FLOOR: _rate(took, mib)}) for name, took in floors.items()),
    ]


@contextmanager
def serving(root: Path, folder: Path, size: int) -> Iterator[Scene]:
    """Make both files and serve them by a process of its own."""
    served = folder / "served"
    served.mkdir()
    files = {name: _made(served, name, count) for name, count in ((LARGE, size), (SMALL, SMALL_SIZE))}
    port = free_port()
    argv = (sys.executable, "-m", "bench.file_server", str(served), str(port))
    with running(Program("file server", argv, port, root, folder / "file_server.log"), _is_ready):
        yield Scene(root, folder, port, files)


def _rate(seconds: list[float], mib: float) -> Figure:
    return Figure.of([mib / one for one in seconds])


def _made(folder: Path, name: str, size: int) -> Served:
    """Write a safetensors file of `size` bytes, its numbers random, and let it reach the disk before anybody comes."""
    head = json.dumps({"x": {"dtype": "U8", "shape": [size - 256], "data_offsets": [0, size - 256]}}).ljust(248)
    digest, left = hashlib.sha256(), size
    with (folder / f"{name}.safetensors").open("wb") as file:
        piece = (248).to_bytes(8, "little") + head.encode("ascii")
        while left:
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
            piece = os.urandom(min(MIB, left))
        file.flush()
        os.fsync(file.fileno())
    return Served(name, size, digest.hexdigest())


def _is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as line:
            line.sendall(f"GET {READY} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode("ascii"))
            return b" 200 " in line.recv(100)
    except OSError:
        return False  # not yet


def raced(
    scene: Scene, wanted: Served, racing: Mapping[str, Contender], rounds: int, unmeasured: int = 1
) -> dict[str, Took]:
    """Let each fetch once a round, after as many rounds that do not count as `unmeasured` says.

    Every round begins with another, and each with a disk that has nothing left to write.
    """
    took, order = {name: Took() for name in racing}, list(racing.items())
    for turn in range(unmeasured + rounds):
        first = turn % len(order)
        for name, fetch in order[first:] + order[:first]:
            target = scene.folder / "fetched"
            target.mkdir()
            os.sync()
            before, began = _children_seconds(), time.perf_counter()
            path = fetch(scene, wanted, target)
            seconds, cpu = time.perf_counter() - began, _children_seconds() - before
            if path and path.stat().st_size != wanted.size:
                raise BenchError(f"{name} left {path.stat().st_size} bytes instead of {wanted.size}")
            shutil.rmtree(target)
            if turn >= unmeasured:
                took[name].seconds.append(seconds)
                took[name].cpu.append(cpu)
    return took


def _children_seconds() -> float:
    """Return the processor time of all processes that were started and have ended; the server is none of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def contenders() -> dict[str, Contender]:
    """Return who fetches; curl only where it is installed."""
    with_curl: dict[str, Contender] = {CURL: curl, SYNCED: curl_synced}
    return {OURS: ours, **(with_curl if shutil.which("curl") else {}), HUB: hub}


def ours(scene: Scene, wanted: Served, target: Path) -> Path:
    """Fetch a model in one file, which the catalogue knows by its SHA-256."""
    (target / "catalog.toml").write_text(
        f'schema = 1\n[[model]]\nid = "{wanted.name}"\nname = "x"\nkind = "checkpoint"\n[model.source]\n'
        f'url = "{scene.url}/{wanted.file}"\nsha256 = "{wanted.sha256}"\nsize_bytes = {wanted.size}\n'
    )
    program = [sys.executable, str(scene.root / "download_models.py"), "--model", wanted.name]
    _done(program, {"MINIMON_MODELS_DIR": str(target)})
    return target / "checkpoints" / wanted.file


def curl(scene: Scene, wanted: Served, target: Path, then: str = "") -> Path:
    """Fetch it as people do by hand, and check what came."""
    path = target / wanted.file
    _done(["sh", "-c", SCRIPT + then, "sh", str(path), f"{scene.url}/{wanted.file}", wanted.sha256], {})
    return path


def curl_synced(scene: Scene, wanted: Served, target: Path) -> Path:
    """Do the same, and wait until it is on the disk."""
    return curl(scene, wanted, target, ' && sync "$1"')


def hub(scene: Scene, wanted: Served, target: Path) -> Path:
    """Fetch it by huggingface_hub, for which this server is a hub."""
    quiet = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_UPDATE_CHECK")
    env = {"HF_ENDPOINT": scene.url, "HF_HOME": str(target / "home"), **dict.fromkeys(quiet, "1")}
    _done([sys.executable, "-c", HUB_PROGRAM, "bench/model", wanted.file, COMMIT, str(target)], env)
    return target / wanted.file


def _done(argv: list[str], env: Mapping[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MINIMON_", "HF_"))}
    whole = {**kept, "NO_PROXY": "*", **env}
    done = subprocess.run(argv, env=whole, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    if done.returncode:
        raise BenchError(f"{argv[0]} ended with status {done.returncode}: {(done.stdout + done.stderr)[-500:]}")


def written(scene: Scene, wanted: Served, target: Path) -> Path:
    """Write as many bytes, and wait until they are on the disk."""
    block, path = os.urandom(MIB), target / wanted.file
    with path.open("wb", buffering=0) as file:
        for begin in range(0, wanted.size, MIB):
            file.write(block[: wanted.size - begin])
        os.fsync(file.fileno())
    return path


def sent(scene: Scene, wanted: Served, target: Path) -> None:
    """Receive the file, and throw it away."""
    asked = f"GET /{wanted.file} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    buffer, count = bytearray(MIB), 0
    with socket.create_connection(("127.0.0.1", scene.port), LIMIT_SECONDS) as line:
        line.sendall(asked.encode("ascii"))
        while more := line.recv_into(buffer):
            count += more
    if count < wanted.size:
        raise BenchError(f"the server sent {count} bytes, and the file has {wanted.size}")


def hashed(scene: Scene, wanted: Served, target: Path) -> None:
    """Hash as many bytes."""
    block, digest = os.urandom(MIB), hashlib.sha256()
    for begin in range(0, wanted.size, MIB):
        digest.update(block[: wanted.size - begin])
    digest.digest()


FLOORS: Final[Mapping[str, Contender]] = {WRITTEN: written, SENT: sent, HASHED: hashed}
