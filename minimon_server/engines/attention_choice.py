"""Which way of computing attention could be had on a machine, the best first, and why. Pure: tries none."""

from __future__ import annotations

from minimon_server.engines.acceleration_plan import Chosen, Wishes
from minimon_server.engines.acceleration_table import ATTENTION, AttentionRow, Capability, shown
from minimon_server.engines.machine_facts import Machine
from minimon_server.errors import Text


def choose_attention(wishes: Wishes, machine: Machine) -> tuple[tuple[AttentionRow, ...], Chosen]:
    """Return the kernels that could be had, the best first, and what is told of the first."""
    able: list[AttentionRow] = []
    passed: list[Text] = []
    for row in ATTENTION:
        why_not = _why_no_kernel(row, wishes, machine)
        if why_not is None:
            able.append(row)
        elif not able:
            passed.append(Text(f"{row.kernel} : {why_not.fr}", f"{row.kernel}: {why_not.en}"))
    first = able[0].kernel
    if wishes.enable_slicing:
        sliced = "SDXL_ENABLE_SLICING=1"
        return (), Chosen("sliced", Text(sliced, sliced))
    if not passed:
        return tuple(able), Chosen(first, Text("le meilleur qui soit ici", "the best that there is here"))
    return tuple(able), Chosen(first, Text("; ".join(one.fr for one in passed), "; ".join(one.en for one in passed)))


def _why_no_kernel(row: AttentionRow, wishes: Wishes, machine: Machine) -> Text | None:
    if row.switch is not None and not getattr(wishes, row.switch):
        setting = f"SDXL_{row.switch.upper()}=0"
        return Text(setting, setting)
    if row.module is not None and machine.device == "cpu":
        return Text("pas sur un processeur", "not on a CPU")
    capability: Capability = machine.capability or (0, 0)
    if row.module is not None and not row.least <= capability < row.below:
        return Text(f"pas sur une carte {shown(capability)}", f"not on a card of {shown(capability)}")
    if row.module is not None and row.module not in machine.packages:
        return Text("pas installé", "not installed")
    return None
