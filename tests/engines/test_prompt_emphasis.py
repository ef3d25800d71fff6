"""Weights over hidden states, written into their place: in the numbers of the model, computed in float32."""

from __future__ import annotations

import pytest
import torch

from minimon_server.engines.prompt_chunks import Chunk
from minimon_server.engines.prompt_emphasis import place, weights_of

TOKENS, WIDTH = 9, 5
CPU = torch.device("cpu")


def hidden(seed: int, dtype: torch.dtype) -> torch.Tensor:
    return (torch.randn((1, TOKENS, WIDTH), generator=torch.Generator().manual_seed(seed)) + 0.5).to(dtype)


def test_begin_end_and_padding_weigh_one_and_plain_chunks_have_no_weights() -> None:
    plain, weighed = Chunk([1, 2], [1.0, 1.0]), Chunk([1, 2, 3], [1.0, 1.3, 0.5])
    (only,) = weights_of([plain, weighed, Chunk()], TOKENS, CPU).items()
    assert only[0] == id(weighed)
    assert torch.equal(only[1], torch.tensor([[1.0, 1.0, 1.3, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]]).T)
    assert weights_of([plain], TOKENS, CPU) == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_weighed_row_is_a1111s_and_nothing_beside_its_place_is_written(dtype: torch.dtype) -> None:
    row, whole = hidden(1, dtype), torch.full((1, 2 * TOKENS, 2 * WIDTH), 7.0, dtype=dtype)
    weight = torch.linspace(0.5, 1.5, TOKENS).unsqueeze(1)
    slot = whole[:, TOKENS:, WIDTH:]
    assert place([row], [weight], [3], [slot])
    z = row.float() * weight
    assert torch.equal(slot, (z * (row.float().mean() / z.mean())).to(dtype))
    assert (whole[:, :TOKENS] == 7.0).all()
    assert (whole[:, :, :WIDTH] == 7.0).all()


def test_weights_that_cancel_each_other_out_restore_no_mean() -> None:
    row, slot = torch.ones((1, 2, WIDTH)), torch.empty((1, 2, WIDTH))
    weight = torch.tensor([[1.0], [-1.0]])
    assert not place([row], [weight], [1], [slot])
    assert torch.equal(slot, row * weight)


def test_texts_of_one_batch_share_a_mean() -> None:
    rows = [hidden(2, torch.float32), hidden(3, torch.float32)]
    slots = list(torch.split(torch.empty((2, TOKENS, WIDTH)), 1))
    weight = torch.full((TOKENS, 1), 1.4)
    assert place(rows, [weight, None], [3, 1], slots)
    before, after = torch.cat([rows[0]] * 3 + [rows[1]]), torch.cat([rows[0] * 1.4] * 3 + [rows[1]])
    ratio = before.mean() / after.mean()
    assert torch.allclose(slots[0], rows[0] * 1.4 * ratio, rtol=1e-5)
    assert torch.allclose(slots[1], rows[1] * ratio, rtol=1e-5)
