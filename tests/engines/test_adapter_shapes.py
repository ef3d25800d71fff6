"""The shapes of an adapter's factors: looked at once for layers alike, and never taken for those of other layers."""

from __future__ import annotations

import pytest
import torch

from minimon_server.engines.adapter_deltas import BadAdapter
from minimon_server.engines.adapter_names import ADAPTED, Layer, LayerNames
from minimon_server.engines.adapter_reading import Adapter, AdapterFile, _changes_weight, fitted

LAYERS: dict[Layer, torch.nn.Module] = {
    ("unet", "one.to_q"): torch.nn.Linear(6, 8),
    ("unet", "two.to_q"): torch.nn.Linear(6, 8),
    ("unet", "three.to_q"): torch.nn.Linear(6, 8),
    ("unet", "wide.to_q"): torch.nn.Linear(7, 8),
    ("unet", "bare.to_q"): torch.nn.Linear(6, 8, bias=False),
    ("unet", "norm.to_q"): torch.nn.LayerNorm(8),
}


def fit(**tensors: torch.Tensor) -> Adapter:
    """Return an adapter of tensors named `<layer>__<what>`."""
    listed = {network: [name for own, name in LAYERS if own == network] for network in ADAPTED}
    named = {f"unet.{name.replace('__', '.to_q.', 1)}": one for name, one in tensors.items()}
    return fitted(
        AdapterFile({name.replace("__", "."): one for name, one in named.items()}, {}), LayerNames(listed), LAYERS
    )


def lora(layer: str, columns: int = 6, rank: int = 2) -> dict[str, torch.Tensor]:
    """Return the factors of a plain LoRA of one layer."""
    return {f"{layer}__lora_A__weight": torch.ones(rank, columns), f"{layer}__lora_B__weight": torch.ones(8, rank)}


def test_layers_alike_are_looked_at_once() -> None:
    _changes_weight.cache_clear()
    found = fit(
        **lora("one"), **lora("two"), **lora("three"), one__alpha=torch.tensor(1.0), two__alpha=torch.tensor(2.0)
    )
    assert len(found.changes) == 3
    kept = _changes_weight.cache_info()
    assert (kept.misses, kept.hits) == (2, 1)  # with alpha, and without; alpha's value makes no shape


def test_what_fits_one_layer_is_refused_for_another() -> None:
    assert len(fit(**lora("one"), **lora("wide", 7)).changes) == 2
    with pytest.raises(BadAdapter, match=r"unet\.wide\.to_q: it makes \[8, 6\] of a layer of \[8, 7\]"):
        fit(**lora("one"), **lora("wide"))
    with pytest.raises(BadAdapter, match=r"unet\.one\.to_q: it makes \[8, 7\] of a layer of \[8, 6\]"):
        fit(**lora("one", 7))


def test_a_refusal_is_not_forgotten_and_a_bias_is_looked_at_with_its_layer() -> None:
    for _ in range(2):
        with pytest.raises(BadAdapter, match="its bias has 9 numbers, the layer's 8"):
            fit(**lora("one"), one__diff_b=torch.ones(9))
        with pytest.raises(BadAdapter, match="do not fit each other"):
            fit(**{**lora("one"), "one__lora_B__weight": torch.ones(8, 3)})
        assert fit(**lora("one"), one__diff_b=torch.ones(8)).unmatched == ()
        assert fit(**lora("bare"), bare__diff_b=torch.ones(9)).unmatched == ("unet.bare.to_q.diff_b",)


def test_norms_and_biases_alone_are_an_adapter() -> None:
    norm, bias = ("unet", "norm.to_q"), ("unet", "one.to_q")
    found = fit(norm__w_norm=torch.ones(8), norm__b_norm=torch.ones(8), one__diff_b=torch.ones(8))
    assert found.unmatched == ()
    assert [found.changes[norm].has(kind) for kind in ("weight", "bias")] == [True, True]
    assert [found.changes[bias].has(kind) for kind in ("weight", "bias")] == [False, True]
