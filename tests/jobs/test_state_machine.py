"""Store, worker and a hand-written engine under whatever may come: no job is lost, made twice, or falsely done."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from minimon_server.engines.files import png_size
from minimon_server.engines.on_demand import pack
from minimon_server.errors import Conflict
from minimon_server.jobs.errors import JobsUnavailable
from minimon_server.jobs.job import FOLLOWERS, Job, State
from minimon_server.jobs.pictures import PictureStore, names_of
from minimon_server.jobs.recovery import sweep_orphans
from minimon_server.jobs.sqlite_store import SqliteStore
from minimon_server.jobs.store import Lease
from tests.jobs.faulty_store import FAULTS, Fault, FaultyStore
from tests.jobs.scene import Sketcher, VirtualClock, quiet, request, until
from tests.jobs.working import Studio, sqlite_store, studio

T = TypeVar("T")
LEASE = Lease(loading=100.0, drawing=100.0)
HABITS = ("", "", "", "fault", "retry", "crash", "stubborn")


@dataclass
class World:
    """One process: its files, its store, its worker, its engine."""

    folder: Path
    store: SqliteStore
    faulty: FaultyStore
    engine: Sketcher
    context: AbstractAsyncContextManager[Studio]
    at: Studio


class JobsUnderWay(RuleBasedStateMachine):
    """The model: what was accepted, what was cancelled, and how each job was last seen."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.home = Path(tempfile.mkdtemp(prefix="jobs-"))
        self.clock = VirtualClock()
        self.seen: dict[str, Job] = {}
        self.cancelled: set[str] = set()
        self.starts = 0
        self.world = self.begin(self.home / "0")

    # processes

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    def begin(self, folder: Path) -> World:
        folder.mkdir(exist_ok=True)
        store = sqlite_store(folder, self.clock, lease=LEASE)
        pictures = PictureStore(folder / "outputs", pack)
        sweep_orphans(store._journal, store.known.jobs, pictures, quiet())
        faulty, engine = FaultyStore(store), Sketcher()
        context = studio(folder, faulty, self.clock, engine)
        return World(folder, store, faulty, engine, context, self.run(context.__aenter__()))

    def end(self, world: World) -> None:
        world.faulty.faults.clear()
        self.run(world.context.__aexit__(None, None, None))
        world.store.close()

    async def settle(self) -> None:
        """Return when the engine waits at its gate, or there is nothing to do."""
        store, engine = self.world.store, self.world.engine
        await until(lambda: engine.waiting or not (store.known.running or len(store.known.waiting)))

    async def step(self) -> None:
        engine = self.world.engine
        if engine.waiting:
            passed = engine.passed
            engine.gate.release()
            await until(lambda: engine.passed > passed)
        await self.settle()

    # rules

    @rule(
        client=st.sampled_from("ab"),
        model=st.sampled_from(("m1", "m2")),
        habit=st.sampled_from(HABITS),
        pictures=st.integers(1, 2),
    )
    def submit(self, client: str, model: str, habit: str, pictures: int) -> None:
        asked = request(model, pictures=pictures, prompt=f"gated {habit} {len(self.seen)}", steps=2)
        try:
            job = self.run(self.world.at.submit(asked, client))
        except JobsUnavailable:
            return
        self.seen[job.id] = job
        self.run(self.settle())

    @rule(steps=st.integers(1, 6))
    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.run(self.step())

    @precondition(lambda self: self.seen)
    @rule(choice=st.randoms(use_true_random=False))
    def cancel(self, choice: object) -> None:
        which = choice.choice(sorted(self.seen))  # type: ignore[attr-defined] # a random.Random
        before = self.run(self.world.store.get(which))
        assert before is not None
        try:
            job = self.run(self.world.at.jobs.cancel(which))
        except Conflict:
            assert before.has_ended
        except JobsUnavailable:
            pass
        else:
            assert job.state is State.REVOKED
            self.cancelled.add(which)

    @rule()
    def hang(self) -> None:
        self.clock.seconds += 101
        self.run(self.world.at.jobs.sweep())

    @rule(call=st.sampled_from(("accept", "claim", "begin", "heartbeat", "complete", "fail", "cancel", "get")))
    def fall_silent(self, call: str) -> None:
        self.world.faulty.faults.setdefault(call, []).append(FAULTS[len(self.seen) % 3])

    @rule(call=st.sampled_from(("claim", "begin", "complete")), fault=st.sampled_from(FAULTS))
    def lose_an_answer(self, call: str, fault: Fault) -> None:
        self.world.faulty.faults.setdefault(call, []).append(fault)

    @rule(half_done=st.booleans())
    def die(self, half_done: bool) -> None:
        """Go on with the files as they are at this moment; the old process may do what it likes."""
        self.run(self.synced())
        self.starts += 1
        folder = self.home / str(self.starts)
        shutil.copytree(self.world.folder, folder)
        for job in self.world.store.known.running.values():
            if half_done:
                (folder / "outputs" / names_of(job.id, max(job.attempt, 1), 1)[0]).write_bytes(b"half a picture")
        self.end(self.world)
        self.world = self.begin(folder)

    @rule()
    def restart(self) -> None:
        self.end(self.world)
        self.world = self.begin(self.world.folder)

    async def synced(self) -> None:
        await self.world.store._commits.ask(lambda: None)

    # what always holds

    @invariant()
    def nothing_accepted_is_lost_and_nothing_ended_changes(self) -> None:
        for which, before in self.seen.items():
            now = self.run(self.world.store.get(which))
            assert now is not None
            assert now.request == before.request
            if before.has_ended:
                assert now == before
            if which in self.cancelled:
                assert now.state is State.REVOKED
            assert now.interrupted <= 2
            assert now.state is before.state or now.state in FOLLOWERS[before.state] | FOLLOWERS[State.PROGRESS]
            self.seen[which] = now

    @invariant()
    def what_is_done_has_its_pictures_and_only_one_set(self) -> None:
        folder = self.world.folder / "outputs"
        for job in self.seen.values():
            if job.state is State.SUCCESS:
                assert len(job.pictures) == len(job.request.seeds)
                assert {path.name for path in folder.glob(f"{job.id}*")} == {one.name for one in job.pictures}
                for picture in job.pictures:
                    assert png_size(PictureStore(folder, pack).read(picture)) == (4, 4)
            elif job.has_ended:
                assert not job.pictures

    def teardown(self) -> None:
        """Let everything end, and see how."""
        self.world.faulty.faults.clear()
        while self.world.store.known.running or len(self.world.store.known.waiting):
            self.run(self.step())
        self.nothing_accepted_is_lost_and_nothing_ended_changes()
        self.what_is_done_has_its_pictures_and_only_one_set()
        for job in self.seen.values():
            assert job.has_ended
            told = any(habit in job.request.prompt for habit in ("fault", "retry", "crash"))
            if job.id not in self.cancelled and job.state is not State.REVOKED and not told:
                tried_enough = job.interrupted == 2 or job.stumbled == 5
                assert job.state is (State.FAILURE if tried_enough else State.SUCCESS), job
        self.end(self.world)
        self.loop.close()
        shutil.rmtree(self.home)


JobsUnderWay.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestJobsUnderWay = JobsUnderWay.TestCase
