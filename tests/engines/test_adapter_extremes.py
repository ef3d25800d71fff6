"""Whether all numbers of a merge are finite: told by two of them, in every float and wherever the bad one is."""

from __future__ import annotations

import pytest
import torch

from minimon_server.engines.adapter_deltas import BadAdapter, extremes
from minimon_server.engines.adapter_stack import _check

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
SHAPES = ((1,), (3, 5), (64, 3, 3, 3), (70_001,))  # the last is more than one thread takes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("numbers", FLOATS)
def test_they_are_finite_where_all_numbers_are(numbers: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(numbers)
    tensor.view(-1)[0] = torch.finfo(numbers).max
    tensor.view(-1)[-1] = torch.finfo(numbers).min
    least, greatest = extremes(tensor)
    assert (least, greatest) == (tensor.min(), tensor.max())
    assert torch.isfinite(extremes(tensor)).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("numbers", FLOATS)
def test_one_of_them_is_not_where_one_number_is_not(numbers: torch.dtype, shape: tuple[int, ...], bad: float) -> None:
    size = torch.Size(shape).numel()
    for at in {0, size // 2, size - 1, min(size - 1, 37)}:
        tensor = torch.zeros(shape, dtype=numbers)
        tensor.view(-1)[at] = bad
        assert not torch.isfinite(extremes(tensor)).all()
        assert not torch.isfinite(extremes(tensor.transpose(0, -1))).all()


def test_the_first_claim_that_is_not_true_is_raised_whatever_floats_the_claims_are_in() -> None:
    good = [
        (extremes(torch.full((4,), 3e38)), BadAdapter("wide")),
        (extremes(torch.ones(4).half()), BadAdapter("half")),
    ]
    _check([])
    _check(good)
    bad = [(extremes(torch.tensor([1.0, value]).to(kind)), BadAdapter(told)) for value, kind, told in (
        (float("inf"), torch.bfloat16, "first"), (float("nan"), torch.float32, "second")
    )]  # fmt: skip
    with pytest.raises(BadAdapter, match="first"):
        _check([*good, *bad])
    with pytest.raises(BadAdapter, match="second"):
        _check([*reversed(bad), *good])
