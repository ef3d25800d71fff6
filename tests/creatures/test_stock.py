"""The stock: no creature twice, shelves by weight, claims in blocks, and every way in which a disk can fail it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimon_server.creatures.drawn import Finished, SetAside
from minimon_server.creatures.rarity import RARITIES, Rarity
from minimon_server.creatures.stock import Stock, block_of, sizes
from minimon_server.creatures.stock_files import StockFiles
from tests.creatures.shelf import PNG, Shelf, creature, filled, number_of, opened, play, stock_over
from tests.jobs.scene import quiet, until

WEIGHTS = (30, 22, 17, 12, 9, 6, 3, 1)


def files(folder: Path, maker: str = "one") -> StockFiles:
    return StockFiles(folder, lambda: maker, quiet())


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_eight_a_rarity_are_spread_by_weight() -> None:
    assert list(sizes(8, WEIGHTS).values()) == [19, 14, 11, 8, 6, 4, 2, 1]
    assert list(sizes(8, (1, 0, 0, 0, 0, 0, 0, 1e-9)).values()) == [64, 0, 0, 0, 0, 0, 0, 1]
    assert set(sizes(0, WEIGHTS).values()) == {0}
    assert [block_of(size) for size in (0, 1, 4, 19)] == [0, 1, 1, 4]


def test_a_creature_lies_on_the_disk_as_it_is_given_out(tmp_path: Path) -> None:
    on_disk = files(tmp_path / "stock")
    on_disk.open()
    name = on_disk.put(creature(5, Rarity.S_PLUS))
    assert files(tmp_path / "stock").open()[Rarity.S_PLUS] == [name]
    (taken,) = on_disk.take([name])
    made = creature(5, Rarity.S_PLUS)
    assert taken.creature[:3] == made.creature[:3]
    assert (taken.base64, taken.renamed, taken.creature.picture.png) == (made.base64, True, PNG)


def test_what_is_taken_is_gone_before_it_is_given(tmp_path: Path) -> None:
    first, second = files(tmp_path), files(tmp_path)
    first.open()
    names = [first.put(creature(number)) for number in range(4)]
    assert second.open()[Rarity.F] == names
    taken = first.take(names[:3])
    assert [number_of(one) for one in taken] == [0, 1, 2]
    assert names_in(tmp_path) == names[3:]
    # Another process that knew the same names gets what is left, and nothing twice.
    assert [number_of(one) for one in second.take(names)] == [3]


def test_what_another_model_drew_or_nobody_finished_leaves_the_stock(tmp_path: Path) -> None:
    here = files(tmp_path)
    here.open()
    kept, damaged = here.put(creature(1)), here.put(creature(2))
    (tmp_path / "0-mnm_000000000000000000000009.creature.new").write_bytes(b"half")
    (tmp_path / "0-mnm_000000000000000000000008.creature").write_bytes(b"no header")
    (tmp_path / "a file of somebody's").write_bytes(b"")
    assert here.open()[Rarity.F] == [kept, damaged]
    assert names_in(tmp_path) == sorted([kept, damaged, "a file of somebody's"])
    data = (tmp_path / damaged).read_bytes()
    (tmp_path / damaged).write_bytes(data[:-1] + b"!")
    assert [number_of(one) for one in here.take([kept, damaged])] == [1]
    assert names_in(tmp_path) == ["a file of somebody's"]
    other = here.put(creature(3))
    assert json.loads((tmp_path / other).read_bytes().partition(b"\n")[0])["maker"] == "one"
    assert files(tmp_path, "another").open()[Rarity.F] == []
    assert names_in(tmp_path) == ["a file of somebody's"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "take", "taken", "crash", "restart", "break", "mend"]), st.sampled_from(RARITIES)
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 12))
def test_no_creature_is_given_out_twice_whatever_happens(steps: list[tuple[str, Rarity]], each: int) -> None:
    async def run() -> None:
        shelf, made = Shelf(), 0
        given: list[int | None] = []
        stock = Stock(sizes(each, WEIGHTS), shelf, quiet())
        for step, rarity in steps:
            if step == "add":
                made += 1
                await stock.add(creature(made, rarity))
            elif step in ("take", "taken"):
                one = stock.take(rarity) if step == "take" else await stock.taken(rarity)
                assert one is None or one.creature.rarity == rarity
                given.append(number_of(one))
            elif step in ("break", "mend"):
                shelf.broken = step == "break"
            else:
                if step == "restart":
                    await stock.close()
                    assert stock.take(rarity) is None
                stock = Stock(sizes(each, WEIGHTS), shelf, quiet())
                await stock.open()
        found = [one for one in given if one is not None]
        assert len(found) == len(set(found))
        assert set(found) <= set(range(1, made + 1))
        await asyncio.sleep(0)
        await asyncio.gather(*stock._claims.values())

    asyncio.run(run())


def test_a_hit_costs_no_disk_and_blocks_are_claimed_ahead() -> None:
    async def scene() -> None:
        shelf, stock = await opened(16, 16)
        assert (shelf.takes, len(shelf.kept)) == (1, 12)
        assert [number_of(stock.take(Rarity.F)) for _ in range(2)] == [0, 1]
        assert shelf.takes == 1  # the next block is claimed beside the loop
        await until(lambda: shelf.takes == 2)
        assert [number_of(await stock.taken(Rarity.F)) for _ in range(14)] == list(range(2, 16))
        assert stock.take(Rarity.F) is None
        assert shelf.takes <= 6
        assert stock.given[Rarity.F] == 16

    play(scene)


def test_a_proper_end_loses_none_and_a_crash_what_was_claimed() -> None:
    async def scene() -> None:
        shelf = filled(8)
        for ends, left in ((True, 8), (False, 6), (True, 6)):
            stock = stock_over(shelf, 8)
            await stock.open()
            if ends:
                await stock.close()
            assert len(shelf.kept) == left
        assert stock.take(Rarity.F) is None

    play(scene)


def test_it_is_filled_where_it_is_emptiest_and_asks_again_for_what_was_set_aside() -> None:
    async def scene() -> None:
        shelf, asked = Shelf(), list[Rarity]()
        stock = Stock({**dict.fromkeys(RARITIES, 0), Rarity.F: 4, Rarity.S: 2}, shelf, quiet())

        async def make(rarity: Rarity) -> Finished:
            asked.append(rarity)
            await asyncio.sleep(0)
            if len(asked) == 2:
                raise SetAside
            if len(asked) == 3:
                raise ValueError("a bug")
            return creature(len(asked), rarity)

        filling = asyncio.create_task(stock.fill(make, pause=0))
        await until(lambda: stock.lacking() is None)
        assert stock.counts() == {**dict.fromkeys(RARITIES, 0), Rarity.F: 4, Rarity.S: 2}
        assert asked[:5] == [Rarity.F, Rarity.S, Rarity.S, Rarity.S, Rarity.F]
        assert len(shelf.kept) == 4  # one of each is at hand
        assert stock.take(Rarity.S) is not None
        await until(lambda: stock.lacking() is None and len(asked) == 9)
        filling.cancel()
        await asyncio.wait({filling})

    play(scene)


def test_the_answer_that_takes_from_a_full_stock_is_sent_before_the_next_is_drawn() -> None:
    async def scene() -> None:
        stock, made = Stock(dict.fromkeys(RARITIES, 1), Shelf(), quiet()), list[Rarity]()

        async def make(rarity: Rarity) -> Finished:
            made.append(rarity)
            return creature(len(made), rarity)

        filling = asyncio.create_task(stock.keep_full(make))
        await until(lambda: stock.lacking() is None)
        full = len(made)
        await asyncio.sleep(0)
        assert stock.take(Rarity.F) is not None
        for _ in range(50):  # as often as the loop turns for an answer, and more
            await asyncio.sleep(0)
        assert len(made) == full
        await until(lambda: stock.lacking() is None)
        assert made[full:] == [Rarity.F]
        filling.cancel()
        await asyncio.wait({filling})

    play(scene)


def test_a_disk_that_fails_costs_what_was_being_claimed_and_nothing_else() -> None:
    async def scene() -> None:
        shelf, stock = await opened(8, 8)
        shelf.broken = True
        given = [number_of(await stock.taken(Rarity.F)) for _ in range(4)]
        assert given[:2] == [0, 1]
        await stock.add(creature(99))
        shelf.broken = False
        rest = [number_of(await stock.taken(Rarity.F)) for _ in range(8)]
        found = [one for one in given + rest if one is not None]
        assert len(found) == len(set(found))
        assert 99 in found

    play(scene)


@pytest.mark.parametrize("each", [1, 8, 1000])
def test_a_stock_that_is_full_lacks_nothing(each: int) -> None:
    wanted = sizes(each, WEIGHTS)
    stock = Stock(wanted, Shelf(), quiet())
    assert stock.lacking() is Rarity.F
    for rarity, count in wanted.items():
        stock._kept[rarity].extend(str(number) for number in range(count))
    assert stock.lacking() is None
