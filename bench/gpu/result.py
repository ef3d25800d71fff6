"""From what was found to a dated file, for people as Markdown and for programs as JSON. Measures nothing."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.gpu.floor import Peaks, Work
from bench.gpu.goals import Verdict, judge
from bench.gpu.plan import PLAIN, Plan
from bench.gpu.rows import Found, Row

SMALL_TELLS_NOTHING = (
    "**Small networks: this run shows that the harness works. Its times say nothing of SDXL and nothing of a GPU.**"
)


class Report:
    """The files of one run, written anew after every task: a run that is killed keeps what its tasks found."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Write nothing yet; the files are named by this moment and the card."""
        self._folder, self._plan = folder, plan
        self._began = datetime.datetime.now(datetime.UTC)
        self.found = Found()
        self.verdicts: list[Verdict] = []
        self.files: tuple[Path, ...] = ()  # the Markdown and the JSON

    def keep(self, found: Found) -> None:
        """Judge and write all that was found so far."""
        self.found, self.verdicts = found, judge(found, self._plan.sizes)
        self.files = write(self._folder, self._plan, found, self.verdicts, self._began)


def write(
    folder: Path, plan: Plan, found: Found, verdicts: Sequence[Verdict], began: datetime.datetime
) -> tuple[Path, Path]:
    """Write both files, or write them over, named by the moment and the card; return the Markdown and the JSON."""
    card = re.sub(r"[^A-Za-z0-9]+", "-", str(found.facts.get("machine", {}).get("card", "unknown"))).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{began:%Y-%m-%dT%H-%M-%SZ}-{plan.sizes}-{card}"
    text, data = stem.with_name(f"{stem.name}.md"), stem.with_name(f"{stem.name}.json")
    _replace(text, render(plan, found, verdicts))
    _replace(data, json.dumps(as_json(plan, found, verdicts), indent=1) + "\n")
    return text, data


def _replace(path: Path, content: str) -> None:
    """Write a file whole or not at all, whenever the process ends."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(content, encoding="utf-8")
    beside.replace(path)


def as_json(plan: Plan, found: Found, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return all of a run."""
    return {
        "plan": asdict(plan),
        "facts": found.facts,
        "goals": [asdict(one) for one in verdicts],
        "rows": [asdict(row) | {"floor_ms": floor_ms(found, row)} for row in found.rows],
        "left_out": [asdict(one) for one in found.left],
    }


def render(plan: Plan, found: Found, verdicts: Sequence[Verdict]) -> str:
    """Return the report: machine, goals, each part beside its floor and the plain loop, the server, what is missing."""
    lines = ["# One run of `make bench-gpu`", "", *([SMALL_TELLS_NOTHING, ""] if plan.sizes == "small" else [])]
    lines += _machine(found.facts)
    lines += ["## Goals, on one H200", "", *(f"- {one.text()}" for one in verdicts), ""]
    parts = list(dict.fromkeys(row.part for row in found.rows))
    for part in (one for one in parts if not one.startswith("https")):
        lines += [f"## {part}", "", *_table(found, [row for row in found.rows if row.part == part]), ""]
    served = [row for row in found.rows if row.part.startswith("https")]
    if served:
        lines += ["## The server", "", *_served(served), ""]
    lines += ["## Left out", "", *(f"- {one.what}: {one.why}" for one in found.left)]
    return "\n".join(lines if found.left else [*lines, "Nothing."]) + "\n"


def floor_ms(found: Found, row: Row) -> float | None:
    """Return the floor of a row: None where its part has none, or its peak was not measured.

    Of what computes in fp8, linear layers count at that peak.
    """
    work, peaks = found.facts.get("work", {}).get(row.part), found.facts.get("peaks")
    if work is None or peaks is None:
        return None
    measured = Peaks(**{name: peaks[name] for name in ("matmul", "fp8", "copy")})
    return measured.floor_ms(Work(**work).times(row.batch), fp8=row.mode.split("+")[0] == "fp8")


def _machine(facts: Mapping[str, Any]) -> list[str]:
    machine, peaks = facts.get("machine", {}), facts.get("peaks")
    lines = [f"- {name}: {_plain(value)}" for name, value in machine.items()]
    if peaks is not None:
        fp8 = "not measured" if peaks["fp8"] is None else f"{peaks['fp8'] / 1e12:,.2f} TFLOP/s"
        lines.append(
            f"- peaks, seen in this run: {peaks['matmul'] / 1e12:,.2f} TFLOP/s "
            f"({peaks['dtype']}, {peaks['side']} a side), fp8 {fp8}, "
            f"memory {peaks['copy'] / 1e9:,.1f} GB/s (read + written)"
        )
    for part, work in facts.get("work", {}).items():
        kinds = {kind: work[kind] for kind in ("linear", "convolution", "attention")}
        shares = ", ".join(f"{kind} {number / 1e12:.4g}" for kind, number in kinds.items())
        lines.append(f"- work of one {part}: {sum(kinds.values()) / 1e12:.4g} TFLOP ({shares})")
    lines += [f"- {name} of the server: {value}" for name, value in facts.get("server", {}).items()]
    lines += [f"- {name}: {value}" for name, value in facts.items() if name.startswith("attention")]
    lines += [f"- during {task}: {_plain(clocks)}" for task, clocks in facts.get("during each task", {}).items()]
    return [*lines, ""]


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return str(value)


def _table(found: Found, rows: Iterable[Row]) -> list[str]:
    found_rows = list(rows)
    modes = list(dict.fromkeys(row.mode for row in found_rows))
    rows = sorted(found_rows, key=lambda row: (modes.index(row.mode), row.batch))
    plain = {row.batch: row.median for row in rows if row.mode == PLAIN}
    lines = [
        "| mode | batch | ms, median (least-greatest) | ms a picture | pictures/s | floor, ms | times the floor | "
    ]
    lines[0] += "plain diffusers, ms | times as fast | peak MiB | calls |"
    lines.append("| --- |" + " ---: |" * 10)
    for row in rows:
        floor, peer = floor_ms(found, row), plain.get(row.batch)
        cells = [
            row.mode,
            str(row.batch),
            f"{row.median:,.3f} ({row.low:,.3f}-{row.high:,.3f})",
            f"{row.median / row.batch:,.3f}",
            f"{1000 * row.batch / row.median:,.1f}",
            _figure(floor, 3),
            _figure(row.median / floor if floor else None, 2),
            _figure(peer, 3),
            _figure(peer / row.median if peer else None, 2),
            _figure(row.peak_mib, 0),
            str(row.calls),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _served(rows: Iterable[Row]) -> list[str]:
    lines = ["| measured | how | median (least-greatest) | unit | of |", "| --- | --- | ---: | --- | ---: |"]
    for row in rows:
        spread = "" if row.low == row.high else f" ({row.low:,.2f}-{row.high:,.2f})"
        lines.append(f"| {row.part} | {row.mode} | {row.median:,.2f}{spread} | {row.unit} | {row.calls} |")
    return lines


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
