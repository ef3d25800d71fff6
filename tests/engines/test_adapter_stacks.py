"""Stacks of every kind, in 32 and in 16 bits: each parameter is W + the sum of what the libraries add, rounded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.adapter_stack import ReadAdapter, Wanted
from minimon_server.logs import Logger
from tests.engines.adapter_references import (
    LYCORIS_KINDS,
    PARTS,
    PEFT_KINDS,
    Networks,
    Reference,
    answers,
    networks_of,
    reference,
    together,
    worst_error,
)
from tests.engines.adapter_scene import Tensors, nothing, reading_once, same, stack_over, state_of, wanted
from tests.small_pipeline import plainly_loaded

pytestmark = pytest.mark.filterwarnings(
    "ignore:The following alpha_pattern keys", "ignore:Already found a `peft_config`"
)
CLOSE = 1e-4
# Those that their libraries can apply to one network at once. Not so the others: LyCORIS' full takes away the weight
# that the next adapter looks at, and PEFT applies a DoRA to what the adapters before it have made, while here each is
# defined against the pristine W.
TOGETHER = (
    ("loha", "dora-lokr", "dora", "peft-rs-lora"),
    ("loha-tucker", "lokr-both", "dora-columns", "peft-alpha-pattern"),
    ("locon-tucker", "lokr-tucker", "dora-loha", "peft-alpha"),
)
APART = (("lokr", "lokr-whole", "peft-dora", "peft-dora"),)
# The only roundings of these are those that the definition names: of a product of matrices, of its product with the
# weight (alpha / rank is a power of two), and of each sum. So they are the same in the library and here.
EXACT = (("locon", "full", "norms", "peft-lora"),)
STACKS = (*TOGETHER, *APART, *EXACT)
WEIGHTS = (0.5, -0.7, 2.0, -1.3)
# What share of the numbers of any other stack may differ in the last bit; at most 2e-5 and 1.2e-4 were seen to.
MOST_UNLIKE = {torch.float32: 1.0, torch.bfloat16: 4e-5, torch.float16: 2.5e-4}


@dataclass(frozen=True)
class Stacked:
    """A stack as files, and what the libraries make of it."""

    kinds: tuple[str, ...]
    adapters: Sequence[Reference]
    uses: Sequence[Wanted]
    changes: Sequence[Tensors]
    read: ReadAdapter

    def total(self) -> Tensors:
        """Return the sum of the changes, in the order that is promised: of the files' digests, then of the weights."""
        found: Tensors = {}
        order = sorted(zip(self.uses, self.changes, strict=True), key=lambda one: (one[0].digest, one[0].weight))
        for _, changes in order:
            for name, change in changes.items():
                found[name] = found[name] + change if name in found else change
        return found

    def magnitude(self, name: str) -> torch.Tensor | float:
        """Return the sum of the sizes of all changes of a parameter."""
        return sum(changes[name].abs() for changes in self.changes if name in changes)


@pytest.fixture(scope="module")
def held(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[torch.dtype, tuple[Any, Path]]:
    """Return a model of each type with its folder, of numbers that all types hold: one reference serves them all."""
    found = {}
    for dtype in MOST_UNLIKE:
        pipeline = plainly_loaded(models / "small")
        with torch.no_grad():
            for parameter in (one for part in PARTS for one in getattr(pipeline, part).parameters()):
                parameter.copy_(parameter.to(torch.bfloat16))
                parameter[parameter.abs() < torch.finfo(torch.float16).tiny] = 0
        folder = tmp_path_factory.mktemp("model")
        pipeline.to(dtype).save_pretrained(folder)
        found[dtype] = pipeline, folder
    return found


@pytest.fixture(scope="module")
def originals(held: Mapping[torch.dtype, tuple[Any, Path]]) -> Networks:
    return networks_of(held[torch.float32][0])


@pytest.fixture(scope="module", params=STACKS, ids="+".join)
def stacked(request: Any, originals: Networks, tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    folder = tmp_path_factory.mktemp("stack")
    kinds = request.param
    adapters = [reference(kind, seed) for seed, kind in enumerate(kinds)]
    paths = [one.write(originals, folder / f"{seed}.safetensors") for seed, one in enumerate(adapters)]
    uses = [wanted(path, weight) for path, weight in zip(paths, WEIGHTS, strict=True)]
    changes = [one.changes(originals, weight) for one, weight in zip(adapters, WEIGHTS, strict=True)]
    return Stacked(kinds, adapters, uses, changes, reading_once())


def test_every_kind_stands_in_a_stack() -> None:
    assert {kind for stack in STACKS for kind in stack} == {*LYCORIS_KINDS, *PEFT_KINDS}


@pytest.mark.parametrize("dtype", list(MOST_UNLIKE), ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_each_parameter_is_the_sum_of_float32_rounded_once(
    stacked: Stacked, held: Mapping[torch.dtype, tuple[Any, Path]], quiet: Logger, dtype: torch.dtype
) -> None:
    pipeline, folder = held[dtype]
    before = state_of(pipeline)
    stack = stack_over(pipeline, folder, quiet, read=stacked.read)
    stack.wear(stacked.uses, nothing, nothing)
    merged, total = state_of(pipeline), stacked.total()
    unlike = 0
    for name, came in before.items():
        change = total.pop(name, torch.zeros(()))
        exact = came.float() + change
        expected = exact.to(dtype)
        unlike += int((merged[name] != expected).sum())
        # The library may multiply in another order, or tell its change as W' - W: each leaves some roundings of
        # float32, of the largest number on the way. They can tip the last rounding to the neighbour and no further,
        # or be more than that neighbour is away where W and the changes cancel each other.
        rounding = torch.finfo(torch.float32).eps * 8 * (came.float().abs() + stacked.magnitude(name))
        step = torch.finfo(dtype).eps * exact.abs() + torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
        assert bool(((merged[name].float() - expected.float()).abs() <= step + rounding).all()), name
        if dtype == torch.float32 and change.ndim:
            assert float((merged[name] - exact).norm() / change.norm()) < CLOSE
    assert not total
    assert unlike <= (0 if stacked.kinds in EXACT else MOST_UNLIKE[dtype] * sum(one.numel() for one in merged.values()))
    stack.take_off()
    assert same(state_of(pipeline), before)


@pytest.mark.parametrize("stacked", TOGETHER, ids="+".join, indirect=True)
def test_a_stack_answers_as_its_libraries_when_they_are_applied_together(
    stacked: Stacked, held: Mapping[torch.dtype, tuple[Any, Path]], originals: Networks, quiet: Logger
) -> None:
    pipeline, folder = held[torch.float32]
    stack = stack_over(pipeline, folder, quiet, read=stacked.read)
    stack.wear(stacked.uses, nothing, nothing)
    ours = answers(pipeline)
    stack.take_off()
    told = together(originals, stacked.adapters, WEIGHTS)
    assert worst_error(ours, told, answers(originals)) < CLOSE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_files_of_32_bits_are_the_pristine_weights_of_a_model_of_16(
    models: Path, tmp_path: Path, quiet: Logger, dtype: torch.dtype
) -> None:
    """W is what the file says, not what is left of it in the model: nothing is rounded before the sum is."""
    pipeline = plainly_loaded(models / "small")
    networks = networks_of(pipeline)
    told = reference("locon", 3)
    path = told.write(networks, tmp_path / "one.safetensors")
    changes = told.changes(networks, 0.5)
    wide = state_of(pipeline)
    before = state_of(pipeline.to(dtype))
    stack = stack_over(pipeline, models / "small", quiet)
    stack.wear([wanted(path, 0.5)], nothing, nothing)
    merged = state_of(pipeline)
    twice_rounded = {name: (before[name].float() + change).to(dtype) for name, change in changes.items()}
    assert all(torch.equal(merged[name], (wide[name] + change).to(dtype)) for name, change in changes.items())
    assert not any(torch.equal(merged[name], other) for name, other in twice_rounded.items())
    stack.take_off()
    assert same(state_of(pipeline), before)
