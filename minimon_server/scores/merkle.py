"""The Merkle tree of RFC 6962, section 2.1: roots, inclusion and consistency proofs. Knows no file and no key.

Hashes are SHA-256, 32 bytes. Leaf `i` of a tree stands for record `i`, counted from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()

# Subtrees of 256 leaves and more are kept, smaller ones are computed when a proof wants them: a tree of a million
# leaves then takes 250 KB of memory instead of 64 MB, and a proof at most some thousand hashes.
_KEPT: Final = 8
_KEPT_MASK: Final = (1 << _KEPT) - 1
_KEPT_BYTES: Final = HASH_BYTES << _KEPT
_PAIR: Final = 2 * HASH_BYTES

# Gives the hashes of leaves [start, end), joined.
Leaves = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of one record's bytes."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


class Tree:
    """A tree that grows at its end, and proves things about itself at any size that it has had."""

    def __init__(self, leaves: Leaves) -> None:
        """`leaves` reads back the hashes of what was appended."""
        self._leaves = leaves
        self._size = 0
        self._edge: list[bytes] = []  # roots of the complete subtrees, largest first: one for each bit set in the size
        self._kept: list[bytearray] = []  # at [j], the roots of all complete subtrees of 2**(_KEPT + j) leaves

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Add the hash of one more record."""
        self._push(leaf, 0)

    def _push(self, root: bytes, level: int) -> None:
        """Add a complete subtree of 2**level leaves, of which the size must be a multiple."""
        self._size += 1 << level
        size = self._size >> level
        self._keep(root, level)
        while not size & 1:
            root = node_hash(self._edge.pop(), root)
            level, size = level + 1, size >> 1
            self._keep(root, level)
        self._edge.append(root)

    def _keep(self, root: bytes, level: int) -> None:
        if level < _KEPT:
            return
        if level - _KEPT == len(self._kept):
            self._kept.append(bytearray())
        self._kept[level - _KEPT] += root

    def extend(self, leaves: bytes) -> None:
        """Add many hashes, joined: what `append` does, several times as fast."""
        at, end = 0, len(leaves)
        while at < end and (self._size & _KEPT_MASK or end - at < _KEPT_BYTES):
            self.append(leaves[at : at + HASH_BYTES])
            at += HASH_BYTES
        for start in range(at, end - _KEPT_BYTES + 1, _KEPT_BYTES):
            row = leaves[start : start + _KEPT_BYTES]
            while len(row) > HASH_BYTES:
                row = b"".join([sha256(b"\1" + row[i : i + _PAIR]).digest() for i in range(0, len(row), _PAIR)])
            self._push(row, _KEPT)
            at = start + _KEPT_BYTES
        for start in range(at, end, HASH_BYTES):
            self.append(leaves[start : start + HASH_BYTES])

    def root(self, size: int | None = None) -> bytes:
        """Return the root (MTH in the RFC) of the first `size` leaves, by default of all."""
        if size is not None and size != self._size:
            self._check(size)
            return self._hash(0, size) if size else EMPTY_ROOT
        found = None
        for subtree in reversed(self._edge):
            found = subtree if found is None else node_hash(subtree, found)
        return EMPTY_ROOT if found is None else found

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the audit path of leaf `index` in the tree of `size` leaves (RFC 6962, section 2.1.1)."""
        self._check(size)
        if not 0 <= index < size:
            raise ValueError(f"no leaf {index} in a tree of {size}")
        start, end = 0, size
        path = []
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._hash(middle, end))
                end = middle
            else:
                path.append(self._hash(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the first `old` of `new` leaves are what they were (RFC 6962, section 2.1.2)."""
        self._check(new)
        if not 0 <= old <= new:
            raise ValueError(f"no tree of {old} leaves within one of {new}")
        if old in (0, new):
            return []
        start, end = 0, new
        path = []
        while end != old:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self._hash(middle, end))
                end = middle
            else:
                path.append(self._hash(start, middle))
                start = middle
        if start:  # otherwise the verifier knows this subtree: it is the old root itself
            path.append(self._hash(start, end))
        return path[::-1]

    def _check(self, size: int) -> None:
        if not 0 <= size <= self._size:
            raise ValueError(f"no tree of {size} leaves: there are {self._size}")

    def _hash(self, start: int, end: int) -> bytes:
        """Return the root of leaves [start, end), which is one of the subtrees that the RFC's splits lead to."""
        count = end - start
        level = count.bit_length() - 1
        if level >= _KEPT and count == 1 << level:
            place = (start >> level) * HASH_BYTES
            return bytes(self._kept[level - _KEPT][place : place + HASH_BYTES])
        if count <= 1 << _KEPT:
            joined = self._leaves(start, end)
            return _root_of([joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)])
        middle = start + _split(count)
        return node_hash(self._hash(start, middle), self._hash(middle, end))


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _root_of(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    middle = _split(len(hashes))
    return node_hash(_root_of(hashes[:middle]), _root_of(hashes[middle:]))


def proves_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Return whether `path` shows that `leaf` is number `index` under `root` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for step in path:
        if not last:
            return False
        if node & 1 or node == last:
            found = node_hash(step, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, step)
        node, last = node >> 1, last >> 1
    return not last and found == root


def proves_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Return whether `path` shows that the tree of `new` leaves extends that of `old` (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    if not old:
        return not path and old_root == EMPTY_ROOT
    steps = list(path)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    found_old = found_new = steps[0]
    for step in steps[1:]:
        if not last:
            return False
        if node & 1 or node == last:
            found_old, found_new = node_hash(step, found_old), node_hash(step, found_new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found_new = node_hash(found_new, step)
        node, last = node >> 1, last >> 1
    return not last and found_old == old_root and found_new == new_root
