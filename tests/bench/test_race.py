"""Which rounds count when other programs disturb some of them; nothing is run here."""

from __future__ import annotations

import os
from dataclasses import replace

from bench import proc
from bench.load import Load
from bench.race import Result, Round, counted, doubt


def a_round(foreign: float, server_seconds: float = 1.8) -> Round:
    load = Load(1000, 2.0, 1e8, 500.0, 1.0, 2.0, 0, 0, busy=0.4)
    return Round(load, server_seconds, foreign)


CALM, LOUD, LOUDER = a_round(0.01), a_round(0.2), a_round(0.5)


def test_only_calm_rounds_count() -> None:
    assert counted([CALM, LOUD, CALM, LOUDER, CALM], 3) == (CALM, CALM, CALM)
    assert counted([LOUD, CALM, LOUDER, CALM], 3) == (CALM, CALM)


def test_the_least_disturbed_count_for_want_of_calm_ones() -> None:
    rounds = counted([LOUDER, LOUD, CALM], 3)
    assert rounds == (CALM, LOUD, LOUDER)
    assert Result(rounds, 3000, 4).disturbed


def test_how_busy_server_and_load_generator_were() -> None:
    result = Result((a_round(0.0, 1.6), a_round(0.0, 1.8), a_round(0.0, 2.0)), 3000, 4)
    assert (result.server_busy, result.generator_busy) == (0.9, 0.4)
    assert not result.disturbed


def test_a_disturbed_server_is_doubted_and_so_is_a_busy_load_generator() -> None:
    assert doubt("ours", Result((CALM,), 1000, 2)) == ""
    assert "disturbed" in doubt("ours", Result((LOUD,), 1000, 2))
    busy = replace(CALM, load=replace(CALM.load, busy=0.95), server_seconds=1.0)
    assert "the load generator was" in doubt("ours", Result((busy,), 1000, 2))


def test_what_the_kernel_does_for_the_disk_is_no_other_program() -> None:
    assert 0 <= proc.kernel_seconds() < proc.busy_seconds(range(4096))
    assert proc.peak_kib(os.getpid()) > 1000


def test_cores_that_worked_since_the_machine_started() -> None:
    assert proc.busy_seconds({0}) > 0
    assert proc.busy_seconds(set()) == 0
