"""Which errors end a CUDA context, and that an engine that meets one says so and touches nothing more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minimon_server.engines.lost_device import is_lost
from minimon_server.engines.messages import DrawRequest, EngineLost
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger

LOST = [
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: unspecified launch failure",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: misaligned address",
]
NOT_LOST = [
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "CUDA error: out of memory",
    "CUDA error: no kernel image is available for execution on the device",
    "mat1 and mat2 shapes cannot be multiplied",
    "an illegal memory access, says somebody who is no device",
]


@pytest.mark.parametrize("said", LOST)
def test_what_ends_the_context(said: str) -> None:
    assert is_lost(RuntimeError(said), None)
    assert is_lost(torch.AcceleratorError(said), torch.device("cpu"))


@pytest.mark.parametrize("said", NOT_LOST)
def test_what_does_not(said: str) -> None:
    assert not is_lost(RuntimeError(said), torch.device("cpu"))


def test_a_device_that_answers_nothing_is_lost_whatever_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: torch.device) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    error = RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    assert is_lost(error, torch.device("cuda"))
    assert not is_lost(error, torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    assert not is_lost(error, torch.device("cuda"))


def test_the_engine_says_that_it_is_lost(
    models: Path, log: Logger, request_for: Callable[..., DrawRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SdxlEngine(ModelFolders(models, log), "cpu", log)
    engine.draw(request_for(), lambda _: True)
    assert engine._model is not None

    def hook(*_: object) -> None:
        raise torch.AcceleratorError(LOST[0])

    engine._model.pipeline.unet.mid_block.register_forward_pre_hook(hook)
    with pytest.raises(EngineLost, match="was lost while this was drawn") as caught:
        engine.draw(request_for(), lambda _: True)
    assert "illegal" not in caught.value.text
    assert caught.value.__context__ is None
