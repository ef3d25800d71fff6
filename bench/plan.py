"""How long and how often each part measures, and what the parts share; measures nothing."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from bench.certificate import Certificate
from bench.cores import Cores


@dataclass(frozen=True)
class Plan:
    """Sizes of one run."""

    rounds: int
    round_seconds: int
    spare_rounds: int
    warm_up_seconds: int
    samples: int
    starts: int
    memory_answers: tuple[int, int]
    ledger_records: int
    ledger_starts: int
    job_rounds: int
    jobs_a_round: int
    submit_rounds: int
    memory_jobs: int
    health_seconds: int
    picture_rounds: int
    prompt_rounds: int
    switch_rounds: int
    stock_rounds: int
    stock_hits: int
    download_rounds: int
    download_mib: int


FULL = Plan(
    rounds=12,
    round_seconds=4,
    spare_rounds=20,
    warm_up_seconds=3,
    samples=201,
    starts=10,
    memory_answers=(20_000, 100_000),
    ledger_records=1_000_000,
    ledger_starts=3,
    job_rounds=12,
    jobs_a_round=6,
    submit_rounds=5,
    memory_jobs=100_000,
    health_seconds=10,
    picture_rounds=15,
    prompt_rounds=31,
    switch_rounds=15,
    stock_rounds=6,
    stock_hits=100,
    download_rounds=9,
    download_mib=512,
)
QUICK = Plan(
    rounds=2,
    round_seconds=2,
    spare_rounds=6,
    warm_up_seconds=1,
    samples=201,
    starts=3,
    memory_answers=(5_000, 20_000),
    ledger_records=20_000,
    ledger_starts=2,
    job_rounds=2,
    jobs_a_round=3,
    submit_rounds=2,
    memory_jobs=5_000,
    health_seconds=3,
    picture_rounds=3,
    prompt_rounds=3,
    switch_rounds=3,
    stock_rounds=2,
    stock_hits=60,
    download_rounds=3,
    download_mib=128,
)


@dataclass(frozen=True)
class Stage:
    """What the parts of one run share."""

    root: Path
    folder: Path
    certificate: Certificate
    context: ssl.SSLContext
    cores: Cores
    plan: Plan
