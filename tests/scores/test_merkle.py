"""The tree against the RFC's own definition and known roots; proofs hold, and altered ones do not."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.scores.merkle import (
    EMPTY_ROOT,
    Tree,
    leaf_hash,
    node_hash,
    proves_consistency,
    proves_inclusion,
)

# The leaves of the tests of Google's certificate-transparency, and the roots of their trees of 1 to 8 leaves.
LEAVES = [bytes.fromhex(data) for data in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def grown(leaves: list[bytes], *, at_once: bool = False) -> Tree:
    tree = Tree(lambda start, end: b"".join(leaves[start:end]))
    if at_once:
        tree.extend(b"".join(leaves))
    else:
        for leaf in leaves:
            tree.append(leaf)
    return tree


def numbered(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def defined(leaves: list[bytes]) -> bytes:
    """Return MTH(D[n]) as RFC 6962, section 2.1, writes it down."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256(b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined(leaves[:split]), defined(leaves[split:]))


def test_known_roots() -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    tree = grown(hashes)
    assert Tree(lambda start, end: b"").root() == EMPTY_ROOT == sha256(b"").digest()
    for size, root in enumerate(ROOTS, 1):
        assert tree.root(size).hex() == root
        assert grown(hashes[:size]).root().hex() == root


def test_known_proofs() -> None:
    tree = grown([leaf_hash(leaf) for leaf in LEAVES])
    assert [step.hex()[:8] for step in tree.inclusion(0, 8)] == ["96a296d2", "5f083f0a", "6b47aaf2"]
    assert [step.hex()[:8] for step in tree.inclusion(5, 8)] == ["bc1a0643", "ca854ea1", "d37ee418"]
    assert [step.hex()[:8] for step in tree.inclusion(1, 5)] == ["6e340b9c", "5f083f0a", "bc1a0643"]
    assert [step.hex()[:8] for step in tree.consistency(6, 8)] == ["0ebc5d34", "ca854ea1", "d37ee418"]


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 700, 1024, 1025, 4095, 4096, 5000])
def test_growing_by_one_and_by_many_is_the_same_and_as_defined(size: int) -> None:
    leaves = numbered(size)
    tree = grown(leaves)
    assert tree.root() == grown(leaves, at_once=True).root() == defined(leaves)
    parts = Tree(lambda start, end: b"".join(leaves[start:end]))
    for start in range(0, size, 300):
        parts.extend(b"".join(leaves[start : start + 300]))
    assert (parts.size, parts.root()) == (size, tree.root())
    for old in {0, size // 3, size // 2, max(size - 1, 0), size}:
        assert parts.root(old) == defined(leaves[:old])


@given(st.data())
def test_proofs_hold_and_altered_ones_do_not(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 600))
    leaves = numbered(size)
    tree = grown(leaves, at_once=True)
    new = data.draw(st.integers(1, size))
    index, old = data.draw(st.integers(0, new - 1)), data.draw(st.integers(1, new))
    root, path = tree.root(new), tree.inclusion(index, new)
    assert proves_inclusion(index, new, leaves[index], path, root)
    assert not proves_inclusion(index, new, leaf_hash(b"another"), path, root)
    assert not proves_inclusion(index, new, leaves[index], [*path, root], root)
    assert not proves_inclusion(new, new, leaves[index], path, root)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        assert not proves_inclusion(index, new, leaves[index], path[:at] + path[at + 1 :], root)
        altered = [*path[:at], bytes([path[at][0] ^ 1]) + path[at][1:], *path[at + 1 :]]
        assert not proves_inclusion(index, new, leaves[index], altered, root)
        assert not proves_inclusion(index ^ 1, new, leaves[index], path, root)
    growth = tree.consistency(old, new)
    assert proves_consistency(old, new, tree.root(old), root, growth)
    assert not proves_consistency(old, new, leaf_hash(b"another"), root, growth)
    assert not proves_consistency(old, new, tree.root(old), leaf_hash(b"another"), growth)
    assert not proves_consistency(old, new, tree.root(old), root, [*growth, root])
    if growth:
        assert not proves_consistency(old, new, tree.root(old), root, growth[:-1])


def test_what_never_was_is_not_proven() -> None:
    tree = grown(numbered(5))
    for ask in (
        lambda: tree.root(6),
        lambda: tree.inclusion(5, 5),
        lambda: tree.inclusion(0, 6),
        lambda: tree.inclusion(-1, 5),
        lambda: tree.consistency(3, 2),
        lambda: tree.consistency(-1, 2),
    ):
        with pytest.raises(ValueError, match=r"no (tree|leaf)"):
            ask()
    assert not proves_inclusion(-1, 5, tree.root(), [], tree.root())
    assert not proves_consistency(3, 2, tree.root(3), tree.root(2), [])
    assert not proves_consistency(2, 3, tree.root(2), tree.root(3), [])
    assert proves_consistency(0, 3, EMPTY_ROOT, tree.root(3), [])
    assert not proves_consistency(0, 3, tree.root(1), tree.root(3), [])
    assert proves_consistency(3, 3, tree.root(3), tree.root(3), [])
