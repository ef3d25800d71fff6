"""A capture that fails leaves the thread on the stream where it was; all captures are on one stream."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from minimon_server.engines.captured_graphs import recorded_on_cuda, stream_of_captures


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_capture_that_fails_leaves_the_thread_on_its_own_stream() -> None:
    own = torch.cuda.current_stream()
    with pytest.raises(Exception):  # noqa: B017, PT011 # whatever the driver says
        recorded_on_cuda(lambda given: (given * given.sum().item(),), (torch.ones(2, device="cuda"),))
    assert torch.cuda.current_stream() == own


class Stream:
    """What is asked of a stream of CUDA."""

    device = None

    def wait_stream(self, other: Any) -> None:
        pass


class Uncapturable:
    """What is asked of a CUDA graph whose capture fails, where it ends."""

    def capture_begin(self, *_: Any, **__: Any) -> None:
        pass

    def capture_end(self) -> None:
        raise RuntimeError("operation failed due to a previous error during capture")


def test_torch_leaves_a_failed_capture_on_its_stream_and_recording_leads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: the streams stand for those of a card, `torch.cuda.graph` is torch's own."""
    own = Stream()
    current, made = [own], list[Stream]()

    class On:
        """What torch.cuda.stream gives, which nobody leaves but by leaving it."""

        def __init__(self, stream: Stream) -> None:
            self._stream, self._before = stream, stream

        def __enter__(self) -> None:
            self._before, current[0] = current[0], self._stream

        def __exit__(self, *_: Any) -> None:
            current[0] = self._before

    def new(*_: Any) -> Stream:
        made.append(Stream())
        return made[-1]

    for name, stands in {
        "stream": On,
        "Stream": new,
        "CUDAGraph": Uncapturable,
        "current_stream": lambda *_: current[0],
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stands)
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
    monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", None)
    stream_of_captures.cache_clear()
    try:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="previous error"):
                recorded_on_cuda(lambda given: (given + 1,), (torch.ones(2),))
            assert current == [own]
    finally:
        stream_of_captures.cache_clear()
    assert len(made) == 1
