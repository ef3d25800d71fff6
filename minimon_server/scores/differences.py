"""What was done to a ledger, told from the hashes of its lines: edits, deletions, insertions, moves. Reads no file.

Like `diff`, over two lists of hashes: what was signed and what is there. The longest run of lines that are still in
their order stays; everything else was touched.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from minimon_server.errors import Text

_NEAR: Final = 4096
_ALIKE: Final = 16  # so many lines in a row are not alike by chance


class Difference(NamedTuple):
    """One thing that was done, at a line of the ledger as it is now, counted from 0.

    `record` is its number from 1: of what is there, or of the first that is no longer there. `at_end` marks foreign
    lines after all that was signed: a ledger that has grown since has such.
    """

    line: int
    record: int
    text: Text
    at_end: bool = False


class _Region(NamedTuple):
    """Signed lines [start, end) that became the found lines [first, last)."""

    start: int
    end: int
    first: int
    last: int


def differences(signed: Sequence[int], found: Sequence[int]) -> Iterator[Difference]:
    """Yield what was done, in the order of the lines; each list holds one number a line, by which lines are equal."""
    regions = list(_regions(signed, found))
    wanted = {found[at] for region in regions for at in range(region.first, region.last)}
    place = {number: at for at, number in enumerate(signed) if number in wanted}
    present = set(place.values())
    for region in regions:
        places = [place.get(found[at], -1) for at in range(region.first, region.last)]
        yield from _Telling(regions, region, places, present).tell(at_end=region.last == len(found))


def _regions(signed: Sequence[int], found: Sequence[int]) -> Iterator[_Region]:
    """Yield what lies between lines that are surely untouched; few changes in a large ledger give small regions."""
    start = first = 0
    while True:
        while start < len(signed) and first < len(found) and signed[start] == found[first]:
            start, first = start + 1, first + 1
        if start == len(signed) and first == len(found):
            return
        again = _meet_again(signed, found, start, first)
        if again is None:
            break
        yield _Region(start, again[0], first, again[1])
        start, first = again
    last, most = 0, min(len(signed) - start, len(found) - first)
    while last < most and signed[-1 - last] == found[-1 - last]:
        last += 1
    yield _Region(start, len(signed) - last, first, len(found) - last)


def _meet_again(signed: Sequence[int], found: Sequence[int], start: int, first: int) -> tuple[int, int] | None:
    """Return where, not far from here, both lists begin to run alike for a while; None if they do not."""
    near = {signed[at]: at for at in range(start, min(start + _NEAR, len(signed)))}
    for there in range(first, min(first + _NEAR, len(found) - _ALIKE)):
        at = near.get(found[there])
        if at is not None and signed[at : at + _ALIKE] == found[there : there + _ALIKE]:
            return at, there
    return None


class _Telling:
    """One region: which of its lines stayed in order, and what the others are."""

    def __init__(self, regions: Sequence[_Region], region: _Region, places: list[int], present: set[int]) -> None:
        self._regions, self._region, self._places, self._present = regions, region, places, present
        self._swapped = self._swap_back()
        self._kept = _longest_rising([at if region.start <= at < region.end else -1 for at in places])
        self._stayed = {places[index] for index in self._kept}

    def _swap_back(self) -> set[int]:
        """Put neighbours that stand in each other's place back: that is one swap, not one move."""
        places, swapped = self._places, set[int]()
        for at in range(len(places) - 1):
            if places[at] > 0 and places[at] == places[at + 1] + 1 and at - 1 not in swapped:
                places[at], places[at + 1] = places[at + 1], places[at]
                swapped.add(at)
        return swapped

    def tell(self, *, at_end: bool) -> Iterator[Difference]:
        """Yield gap by gap, a gap being what stands between two lines that stayed."""
        expected, foreign, places, origin = self._region.start, list[int](), self._places, self._region.first
        for index in range(len(places) + 1):
            whole = index == len(places)
            if not whole and index not in self._kept:
                if places[index] < 0:
                    foreign.append(index)
                else:
                    yield _here(origin + index, self._displaced(places[index]))
                continue
            upto = self._region.end if whole else places[index]
            missing = [record for record in range(expected, upto) if record not in self._present]
            for here, record in zip(foreign, missing, strict=False):
                yield _here(origin + here, _changed(record + 1))
            for here in foreign[len(missing) :]:
                yield _here(origin + here, _INSERTED, at_end=at_end and whole)
            if deleted := missing[len(foreign) :]:
                yield Difference(origin + index, deleted[0] + 1, _deleted(deleted))
            foreign.clear()
            expected = upto + 1
            if index in self._swapped:
                yield _here(origin + index, _swapped(places[index] + 1))

    def _displaced(self, record: int) -> Text:
        """Say of a signed line that does not stand in order whether it is missing elsewhere, or there twice."""
        gone = record not in self._stayed and any(one.start <= record < one.end for one in self._regions)
        self._stayed.add(record)
        return (_moved if gone else _repeated)(record + 1)


def _here(line: int, text: Text, *, at_end: bool = False) -> Difference:
    return Difference(line, line + 1, text, at_end)


def _longest_rising(places: Sequence[int]) -> set[int]:
    """Return the indexes of a longest strictly rising run among the places that are not -1."""
    tails, at_tail = list[int](), list[int]()
    before = [-1] * len(places)
    for index, place in enumerate(places):
        if place < 0:
            continue
        rank = bisect_left(tails, place)
        if rank < len(tails) and tails[rank] == place:
            continue  # a line that stands twice: the first of them is the record
        before[index] = at_tail[rank - 1] if rank else -1
        tails[rank : rank + 1] = [place]
        at_tail[rank : rank + 1] = [index]
    kept, index = set[int](), at_tail[-1] if at_tail else -1
    while index >= 0:
        kept.add(index)
        index = before[index]
    return kept


_INSERTED: Final = Text("ligne étrangère insérée ici", "a foreign line was inserted here")


def _changed(record: int) -> Text:
    return Text(f"l'enregistrement {record} a été modifié", f"record {record} was changed")


def _moved(record: int) -> Text:
    return Text(f"l'enregistrement {record} a été déplacé ici", f"record {record} was moved here")


def _repeated(record: int) -> Text:
    return Text(f"l'enregistrement {record} est répété ici", f"record {record} is repeated here")


def _swapped(record: int) -> Text:
    return Text(
        f"les enregistrements {record} et {record + 1} ont été échangés",
        f"records {record} and {record + 1} were swapped",
    )


def _deleted(records: Sequence[int]) -> Text:
    """Name the deleted ones, counted from 0, by their first and last: one gap is one deletion."""
    first, last = records[0] + 1, records[-1] + 1
    if first == last:
        return Text(f"l'enregistrement {first} a été supprimé", f"record {first} was deleted")
    return Text(
        f"{len(records)} enregistrements ont été supprimés, de {first} à {last}",
        f"{len(records)} records were deleted, {first} to {last}",
    )
