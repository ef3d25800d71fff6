"""Operations and weights, held against those counted by hand and against SDXL's own; the floors that follow."""

from __future__ import annotations

import pytest
import torch

from bench.gpu.floor import META, Peaks, Work, count, work_of
from bench.gpu.paths import BASE, TURBO, TURBO_DRAFT
from bench.gpu.sizes import SDXL
from bench.gpu.stages import DRAFT, TEXT, UNET, VAE
from bench.gpu.weights import build


def test_layers_are_counted_as_by_hand() -> None:
    linear, convolution = torch.nn.Linear(8, 16), torch.nn.Conv2d(3, 5, 3, padding=1)
    found = count(lambda: linear(torch.zeros(2, 4, 8)))
    assert found == Work(2 * 2 * 4 * 8 * 16, 0, 0, 0)
    found = count(lambda: convolution(torch.zeros(1, 3, 6, 7)))
    assert found == Work(0, 2 * 6 * 7 * 3 * 9 * 5, 0, 0)
    query = torch.zeros(1, 2, 10, 4, device="meta")
    found = count(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))
    assert found == Work(0, 0, 2 * (2 * 2 * 10 * 10 * 4), 0)


def test_sdxl_is_as_large_as_it_is() -> None:
    """Against the published sizes: 2.567 billion parameters of the UNet, 123 and 695 million of the text encoders."""
    networks = build(SDXL, META, torch.bfloat16)

    def parameters(network: torch.nn.Module) -> int:
        return sum(one.numel() for one in network.parameters())

    assert parameters(networks.unet) == 2_567_463_684
    assert parameters(networks.text_encoder) == 123_060_480
    assert parameters(networks.text_encoder_2) == 694_659_840
    assert parameters(networks.vae) == 83_653_863


@pytest.mark.torture
def test_sdxl_takes_as_many_operations_as_it_does() -> None:
    """At 1024, 5,979 GFLOP without attention are published (huggingface, datasets/diffusers/benchmarks)."""
    work = work_of(SDXL, torch.bfloat16)
    unet = work[UNET]
    assert unet.total == pytest.approx(1.589e12, rel=0.001)
    large = (work[BASE].total - 2 * work[TEXT].total) / 60  # a sixtieth of one decoded picture is in it
    assert 6.761e12 < large < 6.761e12 + 10.5e12 / 60 + 1e10
    assert work[TURBO].total == pytest.approx(work[TEXT].total + unet.total + work[VAE].total)
    assert work[TURBO_DRAFT].total == pytest.approx(work[TEXT].total + unet.total + work[DRAFT].total)
    assert work[VAE].total == pytest.approx(2.515e12, rel=0.001)
    assert unet.weights == 2 * 2_567_463_684


def test_the_floor_is_the_longer_of_operations_and_weights() -> None:
    work = Work(linear=6e12, convolution=2e12, attention=0, weights=4e9)
    assert Peaks(1e15, None, 4e12).floor_ms(work) == pytest.approx(8)
    assert Peaks(1e15, None, 4e11).floor_ms(work) == pytest.approx(10)
    assert Peaks(1e15, None, 4e12).floor_ms(work, fp8=True) is None
    assert Peaks(1e15, 2e15, 4e12).floor_ms(work, fp8=True) == pytest.approx(5)
    assert work.times(4).total == 32e12
    assert work.times(4).weights == 4e9
