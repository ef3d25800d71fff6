"""Goals met, missed, not judged and not measured; modes and arrivals; clocks as nvidia-smi tells them."""

from __future__ import annotations

import random
import statistics
from itertools import pairwise

import pytest

from bench.errors import BenchError
from bench.gpu import card
from bench.gpu.arrivals import poisson
from bench.gpu.goals import judge
from bench.gpu.modes import Mode
from bench.gpu.paths import BASE, TURBO
from bench.gpu.plan import FULL, PLAIN, QUANTISATIONS, SMALL
from bench.gpu.quantisation import scheme_of
from bench.gpu.rows import Found, Row
from bench.gpu.served import RATE, SWITCH
from minimon_server.engines.acceleration_table import SCHEMES

H200 = {"machine": {"card": "NVIDIA H200"}}


def row(part: str, mode: str, batch: int, value: float, unit: str = "ms") -> Row:
    return Row(part, mode, batch, value, value, value, 1, unit)


def outcomes(found: Found, sizes: str = "sdxl") -> dict[str, tuple[str, float | None]]:
    return {one.what: (one.outcome, one.value) for one in judge(found, sizes)}


def test_the_best_row_is_judged_and_the_plain_loop_is_not_ours() -> None:
    rows = [row(TURBO, PLAIN, 1, 1.0), row(TURBO, "eager", 1, 30.0), row(TURBO, "graphs", 1, 12.0)]
    told = outcomes(Found([*rows, row(TURBO, "graphs", 8, 80.0)], [], H200))
    assert told["Turbo 512x512, full VAE, batch 1"] == ("met", 12.0)
    assert told["Turbo 512x512, full VAE, raw"] == ("MISSED", 100.0)


def test_bits_are_kept_apart() -> None:
    rows = [row(BASE, "fp8+blocks+graphs", 1, 800.0), row(BASE, "blocks", 1, 960.0), row(BASE, "int8-weight", 1, 1.0)]
    told = outcomes(Found(rows, [], H200))
    assert told["SDXL 1024x1024, 30 steps, guided, bf16"] == ("MISSED", 960.0)
    assert told["SDXL 1024x1024, 30 steps, guided, fp8"] == ("MISSED", 800.0)


def test_goals_are_met_by_what_is_served_alone() -> None:
    served = [
        row(TURBO, "blocks+graphs", 1, 13.0),
        row(TURBO, "blocks+graphs", 8, 80.0),
        row(BASE, "fp8+blocks", 1, 760),
    ]
    fast = [row(TURBO, one, 1, 1.0) for one in ("compiled+graphs", "blocks+graphs+tuned", "fp8+graphs")]
    fast += [row(TURBO, "graphs", 32, 32.0), row(BASE, "fp8+compiled+graphs", 1, 1.0), row(BASE, "compiled", 1, 1.0)]
    told = outcomes(Found([*fast, *served], [], H200))
    assert told["Turbo 512x512, full VAE, batch 1"] == ("MISSED", 13.0)
    assert told["Turbo 512x512, full VAE, raw"] == ("MISSED", 100.0)
    assert told["SDXL 1024x1024, 30 steps, guided, fp8"] == ("MISSED", 760.0)
    assert told["SDXL 1024x1024, 30 steps, guided, bf16"] == ("not measured", None)
    assert Mode.parse("fp8-weight+graphs").is_served
    assert {scheme_of(name).label for name in QUANTISATIONS} == {one.label for one in SCHEMES}


def test_what_was_not_measured_is_told_so() -> None:
    told = outcomes(Found([row(RATE, "64 clients at once", 1, 91.0, "1/s"), row(SWITCH, "warm", 1, 700.0)], [], H200))
    assert told["Turbo 512x512, full VAE, through HTTPS"] == ("met", 91.0)
    assert told["warm switch of model"] == ("MISSED", 700.0)
    assert told["change of stack"] == ("not measured", None)


def test_other_cards_and_small_networks_are_not_judged() -> None:
    rows = [row(TURBO, "graphs", 1, 1.0)]
    other = Found(rows, [], {"machine": {"card": "NVIDIA L4"}})
    assert outcomes(other)["Turbo 512x512, full VAE, batch 1"] == ("not judged", 1.0)
    assert outcomes(Found(rows, [], H200), "small")["Turbo 512x512, full VAE, batch 1"] == ("not judged", 1.0)
    first = judge(other, "sdxl")[0].text()
    assert first.endswith("not judged, the goal is for one H200, this is NVIDIA L4")


def test_modes_are_read_and_nonsense_is_refused() -> None:
    assert Mode.parse("fp8+compiled+graphs") == Mode("fp8+compiled+graphs", "fp8", compiled=True, graphs=True)
    assert Mode.parse("eager") == Mode("eager", None, compiled=False, graphs=False)
    served = Mode("fp8+blocks+graphs", "fp8", compiled=False, graphs=True, blocks=True)
    assert Mode.parse("fp8+blocks+graphs") == served
    for wrong in ("fp16", "fp8+int8", "eager+compiled", "blocks+compiled", "graphs+graphs", ""):
        with pytest.raises(BenchError):
            Mode.parse(wrong)
    named = {task for plan in (FULL, SMALL) for task in plan.tasks} - {"peaks", "plain", "host", "server"}
    assert all(Mode.parse(task).name == task for task in named)


def test_strangers_arrive_at_random_and_within_bounds() -> None:
    found = poisson(50.0, 200.0, 1_000_000, random.Random(3))
    assert len(found) == pytest.approx(10_000, rel=0.05)
    assert found == sorted(found)
    assert found[-1] < 200
    pauses = [later - earlier for earlier, later in pairwise(found)]
    assert statistics.stdev(pauses) == pytest.approx(statistics.mean(pauses), rel=0.05)  # as exponential ones have
    assert len(poisson(50.0, 200.0, 7, random.Random(3))) == 7
    with pytest.raises(BenchError):
        poisson(0.0, 1.0, 1, random.Random(3))


def test_clocks_count_while_the_card_is_busy() -> None:
    told = card.summary("1980, 3201, 690.10, 60, 100\n345, 3201, 80.00, 40, 0\n1755, 3201, 700.00, 66, 97\n17")
    assert told["samples"] == "2"
    assert told["clocks.sm"] == "1867.5 (1755-1980)"
    assert told["power.draw"] == "695.05 (690.1-700)"
    assert "unknown" in card.summary("345, 3201, 80.00, 40, 0\n[N/A], 1, 2, 3, 4")
