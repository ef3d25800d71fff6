"""The part about prompts: what the encoders take is taken off, and every contender reads every prompt."""

from __future__ import annotations

import pytest
import torch

from bench.prompts import BARE, GOAL, LIBRARY, OURS, PROMPTS, Inside, _readers, _rows, pipeline
from bench.report import Figure
from minimon_server.engines.sdxl_prompts import Spoken


def test_what_runs_inside_is_counted_and_nothing_else() -> None:
    network, other, inside = torch.nn.Linear(256, 256), torch.nn.Linear(256, 256), Inside()
    with inside.of(network):
        other(torch.zeros(64, 256))
        assert not inside.seconds
        network(torch.zeros(64, 256))
    counted = inside.seconds
    assert counted > 0
    network(torch.zeros(64, 256))
    assert inside.seconds == counted


@pytest.mark.torture
def test_every_prompt_has_a_row_and_a_goal() -> None:
    made = pipeline()
    rows = list(_rows(made, 1))
    assert len(rows) == len(PROMPTS)
    for row in rows:
        assert row.target is GOAL
        for name in (OURS, BARE, LIBRARY):
            cell = row.cells[name]
            assert isinstance(cell, Figure)
            assert cell.low > 0
    chunks = {}
    for name, (prompt, negative) in PROMPTS.items():
        spoken = _readers(made)[OURS](prompt, negative)
        assert isinstance(spoken, Spoken)
        assert not spoken.ignored
        chunks[name] = spoken.asked.chunks
        written = {
            id(one): one.words.numel() for course in (spoken.asked, spoken.avoided) if course for one in course.said
        }
        bare = _readers(made)[BARE](prompt, negative)
        assert isinstance(bare, torch.Tensor)
        assert bare.numel() == sum(written.values())
    assert chunks["plain"] == 1
    assert chunks["weights, 5 chunks"] == 5
