"""What one run measures, how often, and for how long; measures nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from bench.gpu.sizes import ALL, Sizes
from bench.gpu.timing import Effort

PEAKS, PLAIN, HOST, SERVER = "peaks", "plain", "host", "server"
QUANTISATIONS: Final = ("int8-weight", "int8", "fp8-weight", "fp8", "int4-weight", "fp4")


@dataclass(frozen=True)
class Plan:
    """One run. Tasks are modes (`modes.Mode.parse`) and the four names above, each measured in a process of its own."""

    sizes: str
    device: Literal["auto", "cpu", "cuda"]
    tasks: tuple[str, ...]
    batches: tuple[int, ...]
    base_batches: tuple[int, ...]
    calls: int
    seconds: float
    matmul_side: int
    copy_mib: int
    task_minutes: float  # for each process
    # Of the server: clients at once, seconds of each load, shares of the full rate, changes of stack and model.
    clients: int
    load_seconds: float
    load_shares: tuple[float, ...]
    most_jobs: int
    changes: int
    adapter_rank: int

    @property
    def of(self) -> Sizes:
        """The sizes of the networks."""
        return ALL[self.sizes]

    @property
    def effort(self) -> Effort:
        """How often a part of a picture is timed."""
        return Effort(self.calls, self.seconds)

    def write(self, path: Path) -> None:
        """Write the plan for a child."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read what `write` wrote."""
        said = json.loads(path.read_text("utf-8"))
        given: dict[str, Any] = {one.name: said[one.name] for one in fields(cls)}
        for name, value in given.items():
            given[name] = tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        return cls(**given)


FULL: Final = Plan(
    sizes="sdxl",
    device="cuda",
    tasks=(
        PEAKS,
        PLAIN,
        HOST,
        "eager",
        "graphs",
        "blocks",
        "blocks+graphs",
        *(f"{name}+blocks+graphs" for name in QUANTISATIONS),
        "compiled",
        "compiled+graphs",
        SERVER,
    ),
    batches=(1, 2, 4, 8, 16, 32),
    base_batches=(1,),
    calls=50,
    seconds=5.0,
    matmul_side=8192,
    copy_mib=2048,
    task_minutes=60.0,
    clients=64,
    load_seconds=30.0,
    load_shares=(0.5, 0.8),
    most_jobs=5000,
    changes=10,
    adapter_rank=16,
)
SMALL: Final = Plan(
    sizes="small",
    device="cpu",
    tasks=(PEAKS, PLAIN, HOST, "eager", "graphs", *QUANTISATIONS, SERVER),
    batches=(1, 2),
    base_batches=(1,),
    calls=3,
    seconds=1.0,
    matmul_side=256,
    copy_mib=16,
    task_minutes=10.0,
    clients=4,
    load_seconds=2.0,
    load_shares=(0.5,),
    most_jobs=20,
    changes=2,
    adapter_rank=4,
)
