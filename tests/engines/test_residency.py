"""Which models stay in memory: budgets hold, the least recently used goes, shared parts count once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minimon_server.engines.residency import DEVICE, HOST, Change, Residency, Tier

MODELS = st.sampled_from("abcdef")
# Every model has its own part and may share two others; what a part is decides its size.
SIZES = {"x": 7, "y": 20}
LIGHT = 9
LIGHT_ONES: dict[str, Tier] = dict.fromkeys("pqr", HOST) | dict.fromkeys("stu", DEVICE)


def parts_of(model: str, shares: str) -> dict[str, int]:
    return {f"own of {model}": 10 + ord(model) % 5, **{part: SIZES[part] for part in shares}}


USES = st.lists(
    st.tuples(MODELS, st.sampled_from(["", "x", "y", "xy"]), st.sampled_from([DEVICE, DEVICE, DEVICE, HOST]))
    | st.tuples(st.sampled_from(sorted(LIGHT_ONES)))
    | st.sampled_from(["room on the device", "room in main memory", "drop the one in use"]),
    max_size=30,
)


def changed(residency: Residency, step: object) -> Change:
    if isinstance(step, tuple) and len(step) == 1:
        return residency.keep(step[0], LIGHT, LIGHT_ONES[step[0]])
    if isinstance(step, tuple):
        model, shares, tier = step
        return residency.use(model, parts_of(model, shares), tier)
    if step == "drop the one in use":
        return residency.drop(residency.in_use or "nobody")
    return residency.make_room(DEVICE if step == "room on the device" else HOST)


@given(USES, st.integers(0, 90), st.integers(0, 90))
def test_budgets_hold_but_for_the_model_in_use_and_what_is_told_is_what_changed(
    steps: list[object], device: int, host: int
) -> None:
    residency = Residency(device, host)
    budgets: tuple[tuple[Tier, int], ...] = ((DEVICE, device), (HOST, host))
    for step in steps:
        order, before, used = residency.order, residency.parts(), residency.in_use
        change = changed(residency, step)
        after = residency.parts()
        assert all(residency.tier(one) in (LIGHT_ONES[one], None) for one in LIGHT_ONES)
        for tier, budget in budgets:
            others = [one for one in residency.order if residency.tier(one) == tier and one != residency.in_use]
            assert residency.held(tier) <= budget or not others
        if isinstance(step, tuple) and len(step) == 1:
            assert used == residency.in_use
            assert not [one for one in change.out if LIGHT_ONES.get(one) != LIGHT_ONES[step[0]]]
            assert not change.down
        elif isinstance(step, tuple):
            assert residency.in_use == residency.order[-1] == step[0]
            assert residency.tier(step[0]) == step[2]
        elif step != "drop the one in use" and used:
            assert used == residency.in_use
            assert residency.tier(used)
        assert set(order) - set(residency.order) == set(change.out)
        assert change.gone == before.keys() - after.keys()
        assert change.down == {part for part in before if (before[part], after.get(part)) == (DEVICE, HOST)}


@given(USES, st.integers(0, 90), st.integers(0, 90))
def test_nobody_stays_whose_last_use_is_longer_ago_than_that_of_one_who_went(
    steps: list[object], device: int, host: int
) -> None:
    residency = Residency(device, host)
    for step in [one for one in steps if isinstance(one, tuple) and one[-1] == DEVICE]:
        before = [one for one in residency.order if one != step[0]]
        changed(residency, step)
        # From the least to the most recently used: out, then in main memory, then on the device.
        told = {None: 0, HOST: 1, DEVICE: 2}
        where = [told[residency.tier(one)] for one in before]
        assert where == sorted(where)


def test_alternating_models_that_fit_stay_where_they_are() -> None:
    residency = Residency(100, 0)
    for _ in range(10):
        assert not residency.use("a", {"one": 50})
        assert not residency.use("b", {"two": 50})
    assert residency.use("c", {"three": 1}) == Change(out=("a",), gone=frozenset({"one"}))


def test_a_model_that_does_not_fit_beside_another_goes_down_and_comes_back() -> None:
    residency = Residency(100, 100)
    residency.use("a", {"one": 60})
    assert residency.use("b", {"two": 60}) == Change(down=frozenset({"one"}))
    assert residency.use("a", {"one": 60}) == Change(down=frozenset({"two"}))
    assert (residency.tier("a"), residency.tier("b")) == (DEVICE, HOST)


def test_a_shared_part_stays_on_the_device_and_counts_once() -> None:
    residency = Residency(100, 100)
    residency.use("a", {"one": 50, "vae": 30})
    assert residency.use("b", {"two": 50, "vae": 30}) == Change(down=frozenset({"one"}))
    assert (residency.held(DEVICE), residency.held(HOST)) == (80, 50)
    assert residency.drop("b") == Change(out=("b",), gone=frozenset({"two"}), down=frozenset({"vae"}))
    assert residency.in_use is None


def test_the_model_in_use_may_be_larger_than_every_budget() -> None:
    residency = Residency(10, 10)
    assert not residency.use("a", {"one": 50})
    assert not residency.make_room(DEVICE)
    assert not residency.make_room(HOST)
    assert residency.use("b", {"two": 50}) == Change(out=("a",), gone=frozenset({"one"}))


def test_what_is_light_takes_what_models_leave_and_goes_before_any_of_them() -> None:
    residency = Residency(0, 100)
    residency.use("a", {"one": 60}, HOST)
    assert not residency.keep("p", 30, HOST)
    assert not residency.keep("q", 10, HOST)
    assert residency.keep("r", 10, HOST) == Change(out=("p",), gone=frozenset({"p"}))
    assert not residency.keep("s", 50, HOST)  # all of its kind would not make room
    assert residency.tier("s") is None
    assert not residency.keep("q", 10, HOST)
    assert residency.keep("p", 30, HOST) == Change(out=("r",), gone=frozenset({"r"}))
    assert residency.use("b", {"two": 40}, HOST) == Change(out=("q", "p"), gone=frozenset({"p", "q"}))
    assert residency.order == ("a", "b")
    assert residency.in_use == "b"


def test_what_is_light_on_the_device_goes_out_and_not_down() -> None:
    residency = Residency(100, 100)
    residency.use("a", {"one": 60})
    assert not residency.keep("p", 30, DEVICE)
    assert residency.use("b", {"two": 40}) == Change(out=("p",), gone=frozenset({"p"}))
    assert (residency.tier("a"), residency.tier("p")) == (DEVICE, None)
    assert not residency.keep("p", 1, DEVICE)
    residency.drop("a")
    assert not residency.keep("p", 60, DEVICE)
    assert residency.make_room(DEVICE) == Change(out=("p",), gone=frozenset({"p"}))
