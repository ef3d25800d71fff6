"""Where each record stands: by number, by id, by idempotency key. Owns no file; made anew at each start."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

_BUCKET_DIGITS: Final = 3
_HASH_BYTES: Final = 8
_ENTRY_BYTES: Final = _HASH_BYTES + 4


class Places:
    """An index in memory of about 30 bytes a record; what it finds by id or key is a hint, to be read and compared."""

    def __init__(self) -> None:
        self._ends = array("Q", [0])  # where record i begins, and at [i + 1] where it ends
        self._ids, self._keys = _Index(), _Index()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def end(self) -> int:
        """The offset at which the next record will begin."""
        return self._ends[-1]

    def add(self, lengths: Iterable[int]) -> None:
        """Add records, by the length in bytes of each line, its line feed included."""
        end = self._ends[-1]
        for length in lengths:
            end += length
            self._ends.append(end)

    def name(self, ids: Iterable[tuple[str, int]], keys: Iterable[tuple[str, int]]) -> None:
        """Let records be found by their ids (`mnm_` and hexadecimal digits) and by digests of idempotency keys."""
        for score_id, record in ids:
            self._ids.add(score_id[4:], record)
        for key, record in keys:
            self._keys.add(key, record)

    def span(self, record: int) -> tuple[int, int]:
        """Return where record number `record` begins and ends, its line feed included."""
        return self._ends[record], self._ends[record + 1]

    def with_id(self, score_id: str) -> list[int]:
        """Return the records that may have this id, in order."""
        return self._ids.find(score_id[4:])

    def with_key(self, digest: str) -> list[int]:
        """Return the records that may have this digest of an idempotency key, in order."""
        return self._keys.find(digest)


class _Index:
    """Random hexadecimal digits to record numbers: entries of 12 bytes in 4096 buckets that are searched as bytes.

    A dict of a million ids takes 200 MB and stalls for half a second when it grows; a bucket of a million's index is
    3 KB, searched in less than a microsecond.
    """

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(16**_BUCKET_DIGITS)]

    def add(self, digits: str, record: int) -> None:
        bucket = self._buckets[int(digits[:_BUCKET_DIGITS], 16)]
        bucket += bytes.fromhex(digits[: 2 * _HASH_BYTES]) + record.to_bytes(4, "big")

    def find(self, digits: str) -> list[int]:
        bucket = self._buckets[int(digits[:_BUCKET_DIGITS], 16)]
        wanted = bytes.fromhex(digits[: 2 * _HASH_BYTES])
        found, at = [], bucket.find(wanted)
        while at >= 0:
            if at % _ENTRY_BYTES == 0:  # elsewhere it is the end of one entry and the beginning of another
                found.append(int.from_bytes(bucket[at + _HASH_BYTES : at + _ENTRY_BYTES], "big"))
            at = bucket.find(wanted, at + 1)
        return found
