"""Formats of quantised weights that only a card computes with: what of them can be seen on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from minimon_server.engines.acceleration_table import SCHEMES
from minimon_server.engines.quantised_layers import config_of
from minimon_server.engines.quantised_weights import is_quantised, widened_layers

pytest.importorskip("torchao")
CUDA = torch.device("cuda")
ROWS, COLUMNS, GROUP = 16, 1024, 64


def test_fp4_needs_no_package_but_torchao() -> None:
    from torchao.prototype.mx_formats import nvfp4_tensor

    fp4 = next(one for one in SCHEMES if one.name == "fp4")
    config = config_of(fp4, CUDA)
    assert config.use_triton_kernel is False
    values = torch.randn(32, 64, dtype=torch.bfloat16)
    kernel = config.use_triton_kernel  # on a card each product rounds its other factor so
    made = nvfp4_tensor.NVFP4Tensor.to_nvfp4(values, is_swizzled_scales=True, use_triton_kernel=kernel)
    assert float((made.dequantize() - values).abs().max()) < 1


@pytest.fixture
def packed_products() -> Iterator[None]:
    """Let the CPU compute the product that CUDA has a kernel for, of weights that are packed plainly: [rows, columns].

    As tinygemm does: a weight is (bits - 8) * scale + zero in bfloat16.
    """

    def product(given: torch.Tensor, bits: torch.Tensor, group: int, scales: torch.Tensor) -> torch.Tensor:
        scale, zero = (one.T.repeat_interleave(group, 1) for one in scales.unbind(-1))
        return given @ ((bits - 8).to(given.dtype) * scale + zero).T

    opened: Any = torch.library.Library  # torch's own are not typed
    library = opened("aten", "IMPL")
    library.impl("_weight_int4pack_mm", product, "CPU")
    yield
    library._destroy()


@pytest.mark.usefixtures("packed_products")
def test_four_bits_as_a_card_holds_them_are_drawn_again_in_32_bits() -> None:
    from torchao.quantization.quantize_.workflows import Int4TilePackedTo4dTensor

    torch.manual_seed(0)
    bits = torch.randint(0, 16, (ROWS, COLUMNS), dtype=torch.int32)
    scales = torch.randn(COLUMNS // GROUP, ROWS, 2, dtype=torch.bfloat16)
    layer = torch.nn.Linear(COLUMNS, ROWS, device="meta", dtype=torch.bfloat16)
    weight = Int4TilePackedTo4dTensor(bits, scales, [1, GROUP], torch.Size([ROWS, COLUMNS]))
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    assert is_quantised(layer.weight)
    scale, zero = (one.T.repeat_interleave(GROUP, 1) for one in scales.unbind(-1))
    expected = ((bits - 8).bfloat16() * scale + zero).float()
    with torch.inference_mode(), widened_layers(layer):
        assert not is_quantised(layer.weight)
        assert layer.weight.dtype == torch.float32
        assert torch.equal(layer.weight, expected)
    assert is_quantised(layer.weight)
