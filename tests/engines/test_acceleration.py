"""What is wished for and what becomes of it, on every machine of docs/acceleration.md: chosen, chosen away, refused."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Accelerations, Refused, Wishes
from minimon_server.engines.machine_facts import PACKAGES, Machine, _card, this_machine
from minimon_server.environment import read_settings
from minimon_server.jobs.equipment import wishes_of
from tests.engines.machines import ALL, GIGA, MACHINES, card
from tests.support import HOME

DOCUMENT = (HOME / "docs" / "acceleration.md").read_text("utf-8")
HEAD = ("by default", "fp8", "int8", "int4", "fp4", "compile", "offload", "attention")
NAMES = ("fp8", "int8", "int4", "fp4")
DEFAULTS = Wishes("fp8", use_compile=True, use_xformers=True, use_cuda_graphs=True)


def rows() -> dict[str, dict[str, str]]:
    """Return the rows of the document's table, by machine."""
    found = {}
    for line in DOCUMENT.partition("## What works where")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(HEAD) + 1 and cells[0] in MACHINES:
            found[cells[0]] = dict(zip(HEAD, cells[1:], strict=True))
    return found


def asked(machine: Machine, **wished: object) -> Accelerations | None:
    """Return what becomes of what a hand set, or None where the start is refused."""
    try:
        return choose(replace(DEFAULTS, **wished, by_hand=frozenset(wished)), machine)  # type: ignore[arg-type]
    except Refused:
        return None


def test_the_document_tells_every_machine() -> None:
    assert set(rows()) == set(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
def test_a_default_starts_everywhere_as_the_table_says(name: str) -> None:
    plan = choose(DEFAULTS, MACHINES[name])
    assert plan.quantization.value == rows()[name]["by default"]
    assert plan.compile.value is (rows()[name]["compile"] == "yes")
    assert all(chosen.reason.en and chosen.reason.fr for chosen in plan.told().values())


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("quantization", NAMES)
def test_a_quantisation_by_hand_starts_or_stops_as_the_table_says(name: str, quantization: str) -> None:
    plan = asked(MACHINES[name], quantization=quantization)
    told = rows()[name][quantization]
    assert (plan.quantization.value if plan else "stops") == (told if told == "stops" else f"{quantization} {told}")


@pytest.mark.parametrize("name", MACHINES)
def test_the_others_by_hand_start_or_stop_as_the_table_says(name: str) -> None:
    told, machine = rows()[name], MACHINES[name]
    compiled, offloaded = asked(machine, use_compile=True), asked(machine, enable_cpu_offload=True)
    assert (compiled is None) == (told["compile"] == "stops")
    assert (offloaded is None) == (told["offload"] == "stops")
    assert compiled is None or compiled.compile.value is True
    assert offloaded is None or offloaded.offload.value is True
    assert choose(replace(DEFAULTS, use_flash_attn=True), machine).attention.value == told["attention"]
    sliced = choose(replace(DEFAULTS, enable_slicing=True), machine)
    assert (sliced.slicing.value, sliced.attention.value) == (True, "sliced")


@pytest.mark.parametrize("name", MACHINES)
def test_a_combination_starts_when_each_of_its_parts_does(name: str) -> None:
    machine = MACHINES[name]
    for quantization, compiled, offload, slicing in itertools.product(
        ("none", *NAMES), (False, True), (False, True), (False, True)
    ):
        parts = {
            "quantization": quantization,
            "use_compile": compiled,
            "enable_cpu_offload": offload,
            "enable_slicing": slicing,
        }
        alone = {part: asked(machine, **{part: value}) is not None for part, value in parts.items()}
        wishes = Wishes(**parts, by_hand=frozenset(parts))  # type: ignore[arg-type]
        if not all(alone.values()):
            with pytest.raises(Refused) as refused:
                choose(wishes, machine)
            assert len(refused.value.texts) == list(alone.values()).count(False)
            assert all(text.en.startswith("SDXL_") and text.fr.startswith("SDXL_") for text in refused.value.texts)
            continue
        plan = choose(wishes, machine)
        assert str(plan.quantization.value).split()[0] == quantization
        assert (plan.compile.value, plan.offload.value, plan.slicing.value) == (compiled, offload, slicing)


def test_what_is_not_installed_is_chosen_away_or_refused_with_the_line_that_brings_it() -> None:
    bare = replace(card((9, 0), 141), packages={}, c_compiler=None)
    plan = choose(replace(DEFAULTS, use_flash_attn=True), bare)
    assert (plan.quantization.value, plan.compile.value, plan.attention.value) == ("none", False, "SDPA")
    assert "pip install torchao==" in plan.quantization.reason.en
    assert "xFormers: not installed" in plan.attention.reason.en
    with pytest.raises(Refused) as caught:
        choose(replace(DEFAULTS, by_hand=frozenset({"quantization", "use_compile"})), bare)
    compile_line, quantization_line = sorted((text.en for text in caught.value.texts), reverse=True)
    assert "SDXL_USE_COMPILE=1: the Python package triton is not installed: python -m pip install" in compile_line
    assert "SDXL_QUANTIZATION=fp8: the Python package torchao is not installed" in quantization_line
    without = replace(bare, packages={"triton": "1"})
    with pytest.raises(Refused, match="apt install gcc"):
        choose(Wishes(use_compile=True, by_hand=frozenset({"use_compile"})), without)
    with pytest.raises(Refused, match=r"apt install g\+\+"):
        choose(Wishes(use_compile=True, by_hand=frozenset({"use_compile"})), Machine("cpu"))
    for built in (Machine("cpu", cxx_compiler="g++"), card((9, 0), 141)):
        with pytest.raises(Refused, match="apt install python3-dev"):
            choose(Wishes(use_compile=True, by_hand=frozenset({"use_compile"})), replace(built, python_headers=False))


def test_loras_are_rounded_only_where_somebody_asks_and_something_is_quantised() -> None:
    machine = MACHINES["9.0, 141 GB (H200)"]
    assert choose(DEFAULTS, machine).quantized_loras.value is False
    assert choose(replace(DEFAULTS, quantize_loras=True), machine).quantized_loras.value is True
    for bare in (replace(DEFAULTS, quantization="none"), replace(DEFAULTS, pixels=512 * 512)):
        told = choose(replace(bare, quantize_loras=True), machine).quantized_loras
        assert (told.value, told.reason.en) == (False, "nothing is quantised")


def test_fp4_needs_a_torch_for_cuda_12_8() -> None:
    assert asked(card((12, 0), 32, "12.8"), quantization="fp4") is not None
    with pytest.raises(Refused, match=r"built for CUDA 12\.6, and 12\.8 is needed: .*cu130"):
        choose(Wishes("fp4", by_hand=frozenset({"quantization"})), card((12, 0), 32, "12.6"))


def test_a_refusal_names_what_the_card_can_do() -> None:
    with pytest.raises(Refused, match=r"10\.0, this one has 8\.6; it can do fp8, int8, int4, none"):
        choose(Wishes("fp4", by_hand=frozenset({"quantization"})), MACHINES["8.6, 8 GB (RTX 3070)"])


def test_small_products_and_eager_ones_are_not_rounded_on_both_sides() -> None:
    small = replace(DEFAULTS, pixels=512 * 512)
    machine = MACHINES["9.0, 141 GB (H200)"]
    assert choose(small, machine).quantization.value == "none"
    by_hand = replace(small, by_hand=frozenset({"quantization"}))
    assert choose(by_hand, machine).quantization.value == "fp8 weight-only"
    assert "256 rows" in choose(by_hand, machine).quantization.reason.en
    eager = replace(DEFAULTS, use_compile=False, by_hand=frozenset({"quantization"}))
    assert choose(eager, machine).quantization.value == "fp8 weight-only"
    assert choose(replace(small, pixels=768 * 768), machine).quantization.value == "fp8 dynamic"


def test_offloading_and_compiling_are_not_both_a_default() -> None:
    machine = MACHINES["8.6, 8 GB (RTX 3070)"]
    plan = choose(replace(DEFAULTS, enable_cpu_offload=True), machine)
    assert (plan.offload.value, plan.compile.value) == (True, False)
    both = replace(DEFAULTS, enable_cpu_offload=True, by_hand=frozenset({"use_compile", "enable_cpu_offload"}))
    assert choose(both, machine).compile.value is True


def test_the_first_documents_defaults_are_the_settings() -> None:
    settings = read_settings({}, home=HOME, here=HOME)
    assert wishes_of(settings) == replace(DEFAULTS, by_hand=wishes_of(settings).by_hand)
    assert not {"quantization", "use_compile", "enable_cpu_offload", "use_cuda_graphs"} & wishes_of(settings).by_hand
    environ = {"SDXL_QUANTIZATION": "INT8", "MINIMON_SDXL_USE_COMPILE": "0", "MINIMON_GENERATION_BACKEND": "sdxl"}
    wishes = wishes_of(read_settings(environ, home=HOME, here=HOME))
    assert (wishes.quantization, wishes.use_compile, wishes.pixels) == ("int8", False, 512 * 512)
    assert {"quantization", "use_compile"} <= wishes.by_hand
    assert wishes.demanded == ("SDXL_QUANTIZATION=int8",)


def test_this_machine_is_found_without_importing_anything() -> None:
    here = this_machine("cpu")
    assert (here.device, here.capability, here.cuda) == ("cpu", None, None)
    assert set(here.packages) <= set(PACKAGES)
    assert set(ALL) == set(PACKAGES)


DRIVER = """
#include <stddef.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 5; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 9 : 3; return device != 5; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 141000000000u; return device != 5; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed here")
def test_a_card_is_asked_through_its_driver(tmp_path: Path) -> None:
    # Written after cuda.h: what is tried is that our calls pass what the driver reads, and read what it writes.
    (tmp_path / "driver.c").write_text(DRIVER)
    library = str(tmp_path / "libdriver.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(tmp_path / "driver.c")], check=True)
    assert _card(library) == ((9, 3), 141 * GIGA)
