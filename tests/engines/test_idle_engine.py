"""A real model whose engine was idle for long enough: it is gone from memory, and draws the same picture afterwards."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.on_demand import OnDemand
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.idling import Idling
from minimon_server.logs import Logger
from tests.jobs.scene import PATIENCE, VirtualClock


def mapped(file: Path) -> bool:
    """Return whether this process still holds a file of weights in memory."""
    return str(file) in Path("/proc/self/maps").read_text("utf-8")


def test_nothing_of_the_model_is_left_and_the_next_picture_is_the_same(
    models: Path, log: Logger, request_for: Callable[..., DrawRequest]
) -> None:
    made: list[SdxlEngine] = []

    def make() -> SdxlEngine:
        made.append(SdxlEngine(ModelFolders(models, log), "cpu", log))
        return made[-1]

    async def scene() -> None:
        clock = VirtualClock()
        engine = OnDemand(make, log)
        thread = EngineThread(lambda: engine)
        idling = Idling(thread, thread.discard, 900.0, log, clock)
        before = await thread.draw(request_for(), lambda _: True)
        assert made[0]._model is not None
        pipeline = made[0]._model.pipeline
        parts = [weakref.ref(part) for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)]
        weights = next((models / "small" / "unet").glob("*.safetensors"))
        assert mapped(weights)
        del pipeline
        clock.seconds += 901
        await idling.look()
        gc.collect()
        assert [part() for part in parts] == [None, None, None]
        assert not mapped(weights)
        assert thread.loaded is None
        after = await thread.draw(request_for(), lambda _: True)
        assert after.pictures[0].pixels == before.pictures[0].pixels
        assert len(made) == 2
        thread.end()
        assert await asyncio.to_thread(thread.join, PATIENCE)

    asyncio.run(scene())
