"""The worker of one machine keeps the contract of all executors; one that does not would be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimon_server.engines.messages import Engine
from minimon_server.engines.on_demand import read_picture
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.events import Events
from minimon_server.jobs.executor import Executor
from minimon_server.jobs.input_files import InputFiles
from minimon_server.jobs.inputs import Inputs
from minimon_server.jobs.pictures import PictureStore
from minimon_server.jobs.store import JobStore
from minimon_server.jobs.worker import Worker
from tests.jobs.contract_executor import ExecutorContract
from tests.jobs.scene import at_once, quiet


class OneThread(ExecutorContract):
    """Makes a worker with an engine thread."""

    kind: type[Worker] = Worker

    def make(self, store: JobStore, pictures: PictureStore, events: Events, engine: Engine) -> Executor:
        thread = EngineThread(lambda: engine)
        inputs = Inputs(InputFiles(Path("nowhere"), 0), read_picture, quiet())  # no job here begins with a picture
        worker = self.kind(store, pictures, inputs, events, thread, quiet(), name="w1", pause=at_once)
        worker.stop_seconds = 0.2
        return worker


class TestWorker(OneThread):
    """The whole contract."""


class StopsWhateverItDraws(Worker):
    """A cancel hits whichever job is drawn."""

    def stop(self, job_id: str) -> None:
        self.give_back()


def test_an_executor_that_breaks_the_contract_is_found(tmp_path: Path) -> None:
    wrong = OneThread()
    wrong.kind = StopsWhateverItDraws
    with pytest.raises(AssertionError):
        wrong.test_a_cancel_stops_its_job_and_no_other(tmp_path / "stops")
