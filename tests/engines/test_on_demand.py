"""The engine that is not there until somebody draws: nothing heavy is imported, and what is missing is said."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from minimon_server.engines import devices, on_demand
from minimon_server.engines.messages import (
    NO_INPUTS,
    Deliver,
    Drawn,
    DrawRequest,
    Engine,
    EngineFault,
    Progress,
    Report,
    Stack,
    Stopped,
)
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.on_demand import NoEngine, OnDemand, make_engine
from minimon_server.engines.one_by_one import one_by_one
from minimon_server.errors import StartupError
from minimon_server.logs import Logger
from tests.e2e.running import files_in
from tests.engines.listening import Heard
from tests.support import HOME

Asking = Callable[..., DrawRequest]


class Painter:
    """An engine that draws nothing and remembers."""

    def __init__(self) -> None:
        self.loaded: Stack | None = None
        self.closed = False
        self.inputs: Mapping[str, bytes] = {}

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        self.loaded = request.stack
        self.inputs = inputs
        return Drawn(())

    def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        """Draw one after the other."""
        one_by_one(self, requests, reports, deliver)

    def has_room_for(self, requests: Sequence[DrawRequest]) -> bool:
        """Draw nothing between steps."""
        return False

    def close(self) -> None:
        self.closed = True


def go_on(_: Progress) -> bool:
    return True


def test_it_is_made_once_and_at_the_first_request(log: Logger, request_for: Asking) -> None:
    made: list[Painter] = []

    def make() -> Engine:
        made.append(Painter())
        return made[-1]

    engine = OnDemand(make, log)
    assert not made
    with pytest.raises(Stopped):
        engine.draw(request_for(), lambda _: False)
    assert not made
    heard = Heard()
    for _ in range(2):
        assert engine.draw(request_for(), heard) == Drawn(())
    assert heard == [Progress("loading", 0, 1)]
    assert len(made) == 1
    engine.draw(request_for(), heard, {"digest": b"png"})
    assert made[0].inputs == {"digest": b"png"}
    assert engine.loaded == Stack("small")
    engine.close()
    assert made[0].closed
    engine.close()
    engine.draw(request_for(), go_on)
    assert len(made) == 2


def test_a_library_that_breaks_on_import_is_said(log: Logger, request_for: Asking) -> None:
    def make() -> Engine:
        raise ImportError("/secret/libcudart.so: cannot open shared object file")

    engine = OnDemand(make, log)
    for _ in range(2):
        with pytest.raises(EngineFault, match=r"cannot be started \(ImportError\)") as caught:
            engine.draw(request_for(), go_on)
        assert "secret" not in caught.value.text


def test_a_real_picture_comes_through_it(models: Path, log: Logger, request_for: Asking) -> None:
    engine = make_engine(ModelFolders(models, log), "cpu", log)
    heard = Heard()
    (picture,) = engine.draw(request_for(), heard).pictures
    assert picture.pixels
    assert engine.here.told() == {name: picture.metadata[name] for name in ("device", "dtype")}
    assert heard[0] == Progress("loading", 0, 1)
    assert engine.loaded == Stack("small")
    engine.close()


def test_collections_pass_over_what_the_libraries_made(
    models: Path, log: Logger, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(ModelFolders(models, log), "cpu", log)
    gc.unfreeze()
    engine.draw(request_for(), go_on)
    engine.close()
    assert gc.get_freeze_count() == 0  # the libraries are there: what lives now may be a model of before
    monkeypatch.setattr(on_demand, "_ENGINE", "a.module.that.was.never.imported")
    engine.draw(request_for(), go_on)
    engine.close()
    assert gc.get_freeze_count() > 100_000


def test_missing_packages_are_said_with_the_line_that_brings_them(
    tmp_path: Path, log: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "NEEDED", ("torch_that_nobody_has", "json"))
    with pytest.raises(NoEngine) as caught:
        make_engine(ModelFolders(tmp_path, log), "auto", log)
    assert "'torch_that_nobody_has'" in caught.value.text.en
    assert "python -m pip install -r requirements.txt" in caught.value.text.en
    with pytest.raises(StartupError):
        make_engine(ModelFolders(tmp_path, log), "cuda", log)


def test_cuda_that_is_wished_for_and_not_there_stops_the_start(
    tmp_path: Path, log: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "cuda_problem", lambda: "there is no NVIDIA driver")
    with pytest.raises(StartupError, match="MINIMON_DEVICE=cuda, but there is no NVIDIA driver"):
        make_engine(ModelFolders(tmp_path, log), "cuda", log)
    assert make_engine(ModelFolders(tmp_path, log), "auto", log).loaded is None


def test_a_cuda_device_is_not_told_before_the_engine_has_chosen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_problem", lambda: "there is no NVIDIA driver")
    assert devices.DeviceHere("auto").told() == {"device": "cpu", "dtype": "float32"}
    monkeypatch.setattr(devices, "cuda_problem", lambda: None)
    assert devices.DeviceHere("cpu").told() == {"device": "cpu", "dtype": "float32"}
    here = devices.DeviceHere("auto")
    assert here.told() == {}
    here.learn("NVIDIA H200", "bfloat16")
    assert here.told() == {"device": "NVIDIA H200", "dtype": "bfloat16"}


def test_a_driver_that_is_not_there_is_no_crash() -> None:
    assert devices._driver_problem("libcuda-that-nobody-has.so.1") == "there is no NVIDIA driver"


def test_neither_server_nor_engine_import_anything_heavy_at_the_start(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
import gen_server
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.on_demand import make_engine
from minimon_server.environment import read_settings
server = gen_server.build(read_settings(os.environ, home=gen_server.HOME, here=Path.cwd()), {})
make_engine(ModelFolders(Path("models"), server.log), "auto", server.log)
heavy = {"torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy", "PIL", "isal"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(HOME)} | files_in(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]"), done.stderr
