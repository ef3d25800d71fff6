"""The order of lanes, on a virtual clock: nobody starves, nobody waits for another's thousand jobs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimon_server.engines.messages import AdapterUse, Stack
from minimon_server.jobs.job import Job, Priority
from minimon_server.jobs.lanes import BATCH_SECONDS, OVERTAKEN_SECONDS, SLACK, Lane, pick
from minimon_server.jobs.waiting import Waiting
from tests.jobs.scene import job_id, request

M1, M2 = Stack("m1"), Stack("m2")
LANE = Lane("player", M1, "ann", waiting=1, oldest=0.0, served=0)


def fairly_named(lanes: list[Lane]) -> list[str]:
    return [lane.client for lane in lanes]


def wearing(model: str, *loras: tuple[str, float]) -> Stack:
    return Stack(model, tuple(AdapterUse(name, weight) for name, weight in loras))


def job(number: int, client: str, stack: Stack = M1, accepted: float = 0.0, priority: Priority = "player") -> Job:
    asked = request(stack.model, adapters=stack.adapters)
    return Job(job_id(number), number, asked, client, priority, accepted, fence="1")  # type: ignore[arg-type]


class Shop:
    """Jobs that wait and one server that takes a second for each, all on a virtual clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting = Waiting()
        self.loaded: Stack | None = None
        self.numbers = 0
        self.switches = 0

    def come(self, client: str, stack: Stack = M1, priority: Priority = "player") -> Job:
        self.numbers += 1
        self.now += 0.001  # no two come at the same time
        made = job(self.numbers, client, stack, self.now, priority)
        self.waiting.put(made)
        return made

    def serve(self) -> Job:
        found = self.waiting.first(pick(self.now, self.waiting.lanes(), self.loaded)[0])
        assert found is not None
        self.waiting.take(found, served=True)
        self.switches += found.request.stack != self.loaded
        self.loaded = found.request.stack
        self.now += 1
        return found


@pytest.mark.parametrize("served_before", [0, 1, 50])
def test_nine_who_want_one_start_within_ten_though_one_wants_a_thousand(served_before: int) -> None:
    shop = Shop()
    for _ in range(1000):
        shop.come("greedy")
    for _ in range(served_before):
        shop.serve()
    nine = {shop.come(f"c{number}").id for number in range(9)}
    assert nine <= {shop.serve().id for _ in range(10)}


def test_what_is_loaded_delays_them_by_the_slack_at_the_most() -> None:
    shop = Shop()
    for _ in range(1000):
        shop.come("greedy", M1)
    for _ in range(20):
        shop.serve()
    nine = {shop.come(f"c{number}", M2).id for number in range(9)}
    assert nine <= {shop.serve().id for _ in range(10 + SLACK)}


def test_who_comes_again_and_again_gets_every_other_turn_and_no_more() -> None:
    shop = Shop()
    for _ in range(1000):
        shop.come("greedy")
    served = []
    mine = shop.come("ann")
    for _ in range(100):
        found = shop.serve()
        served.append(found.client)
        if found is mine:
            mine = shop.come("ann")
    assert 45 <= served.count("ann") <= 55


def test_two_models_are_not_loaded_in_turns() -> None:
    shop = Shop()
    for number in range(200):
        shop.come("ann", Stack(f"m{number % 2}"))
    for _ in range(200):
        shop.serve()
    assert shop.switches == 2


@pytest.mark.parametrize("models", [("m0", "m1"), ("my", "my+model"), ("my+one", "my+two"), ("m0", "m0+lora1:1")])
def test_stacks_of_two_models_by_turns_switch_the_model_once(models: tuple[str, str]) -> None:
    shop = Shop()
    for number in range(60):
        shop.come("ann", wearing(models[number % 2], (f"lora{number % 3}", 1.0)))
    served = [shop.serve().request.model for _ in range(60)]
    assert served == [models[0]] * 30 + [models[1]] * 30
    assert shop.switches == 6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (wearing("m1", ("a", 0.8)), wearing("m1+a:0.8")),
        (wearing("m1", ("a", 0.8)), wearing("m1", ("a", 0.8000001))),
        (wearing("m1", ("a", 0.8), ("b", 1.0)), wearing("m1+a:0.8", ("b", 1.0))),
        (wearing("m1", ("a", 0.8), ("b", 1.0)), wearing("m1", ("a:0.8+b", 1.0))),
    ],
)
def test_two_stacks_of_one_text_are_two_lanes(one: Stack, other: Stack) -> None:
    assert str(one) == str(other)
    shop = Shop()
    first, second = shop.come("ann", one), shop.come("ann", other)
    assert first.request.company != second.request.company  # one would be drawn with what the other wears
    for loaded, order in ((one, [first, second]), (other, [second, first])):
        lanes = pick(shop.now, shop.waiting.lanes(), loaded)
        assert [shop.waiting.first(lane) for lane in lanes] == order


def test_two_clients_who_alternate_models_are_served_within_the_slack() -> None:
    shop = Shop()
    for _ in range(60):
        shop.come("ann", M1)
        shop.come("bob", M2)
    served = [shop.serve().client for _ in range(120)]
    for end in range(1, 121):
        assert abs(2 * served[:end].count("ann") - end) <= SLACK + 1
    assert shop.switches < 60


@pytest.mark.parametrize("stacks", [(M1, M1), (wearing("m1", ("a", 1.0)), wearing("m1", ("b", 1.0)))])
def test_another_model_is_not_overtaken_for_ever_by_stacks_of_the_loaded_one(stacks: tuple[Stack, Stack]) -> None:
    shop = Shop()
    shop.come("ann", stacks[0])
    shop.serve()
    other = shop.come("ann", M2)
    began, number = shop.now, 0
    shop.come("ann", stacks[1])
    while shop.serve() is not other:
        number += 1
        shop.come("ann", stacks[number % 2])
        assert shop.now - began <= OVERTAKEN_SECONDS + 3


def test_a_lane_is_not_overtaken_for_ever_by_what_is_loaded() -> None:
    shop = Shop()
    shop.come("ann", M1)
    shop.serve()
    other = shop.come("ann", M2)
    began = shop.now
    shop.come("ann", M1)
    while shop.serve() is not other:
        shop.come("ann", M1)
        assert shop.now - began <= OVERTAKEN_SECONDS + 2


def test_players_come_before_a_batch_until_it_has_waited_its_time() -> None:
    batch = replace(LANE, priority="batch", client="batch")
    player = replace(LANE, client="player", oldest=50.0, served=9)
    assert fairly_named(pick(BATCH_SECONDS - 1, [batch, player], None)) == ["player", "batch"]
    assert fairly_named(pick(BATCH_SECONDS, [batch, player], None)) == ["batch", "player"]


def test_the_least_served_come_first_and_the_oldest_of_those() -> None:
    lanes = [
        replace(LANE, client="far", served=9),
        replace(LANE, client="young", oldest=5.0),
        replace(LANE, client="old", oldest=1.0),
        replace(LANE, client="near", served=SLACK, stack=M2),
    ]
    assert fairly_named(pick(10, lanes, None)) == ["old", "young", "near", "far"]
    assert fairly_named(pick(10, lanes, M2)) == ["near", "old", "young", "far"]
    assert pick(10, [], M1) == []


@settings(deadline=None, max_examples=30)  # of 600 turns each
@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(1, 4))
def test_nobody_starves(seed: int, clients: int, stacks: int) -> None:
    """Whatever comes and goes: a job starts after at most so many others as fairness allows."""
    dice = random.Random(seed)
    shop = Shop()
    bound = 400
    came: dict[str, int] = {}
    for turn in range(600):
        for _ in range(dice.choice((0, 1, 1, 2)) if len(shop.waiting) < 40 else 0):
            kind: Priority = dice.choice(("player", "player", "batch"))
            stack = wearing(f"m{dice.randrange(stacks)}", *dice.choice(((), (("a", 1.0),), (("b", 1.0),))))
            made = shop.come(f"c{dice.randrange(clients)}", stack, kind)
            came[made.id] = turn
        if len(shop.waiting):
            came.pop(shop.serve().id)
        assert all(turn - then < bound for then in came.values())


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_the_position_is_the_place_in_the_line_when_nothing_is_loaded(seed: int) -> None:
    dice = random.Random(seed)
    shop = Shop()
    for _ in range(dice.randrange(1, 30)):
        shop.come(f"c{dice.randrange(4)}")
    for _ in range(dice.randrange(0, len(shop.waiting))):
        shop.serve()
    waiting = list(shop.waiting._jobs.values())
    positions = {one.id: shop.waiting.position(one) for one in waiting}
    assert sorted(place for place in positions.values() if place) == list(range(1, len(waiting) + 1))
    for place in range(1, len(waiting) + 1):
        # A client that has nothing left to wait for is forgotten, which moves nobody who waits.
        assert positions[shop.serve().id] == place
    assert shop.waiting.position(waiting[0]) is None
    assert not len(shop.waiting)
    assert shop.waiting.text_size == 0
