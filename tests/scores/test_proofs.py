"""Proofs on their way: out in both forms, back, and refused when anything in them is altered or malformed."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from minimon_server.scores.ledger import Proof
from minimon_server.scores.notes import BadNote, Checkpoint
from minimon_server.scores.proofs import ReadProof, as_json, as_text
from tests.scores.ledgers import NAME, SIGNER, some_lines, tree_over

LINES = some_lines(7)
TREE = tree_over(LINES)
NOTE = SIGNER.sign(Checkpoint(NAME, 7, TREE.root()).text())
PROOF = Proof(4, LINES[4], TREE.inclusion(4, 7), 7, TREE.root(), NOTE)
JSON = as_json(PROOF, "mnm_0")


def test_both_forms_are_read_back_and_hold() -> None:
    for read in (ReadProof.from_json(json.loads(json.dumps(JSON))), ReadProof.from_text(as_text(PROOF))):
        assert read == ReadProof(4, LINES[4], tuple(PROOF.path), NOTE)
        assert read.check([SIGNER.key]) == (Checkpoint(NAME, 7, TREE.root()), None)
        with pytest.raises(BadNote):
            read.check([])


def test_the_text_is_that_of_the_specification() -> None:
    lines = as_text(PROOF).split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", f"extra {b64encode(LINES[4]).decode()}", "index 4"]
    assert [len(step) for step in lines[3:6]] == [44, 44, 44]
    assert lines[6:9] == ["", NAME, "7"]


@pytest.mark.parametrize("index", [0, 3, 5, 6, 7, 2**70])
def test_another_place_is_not_proven(index: int) -> None:
    assert ReadProof.from_json({**JSON, "index": index}).check([SIGNER.key])[1]


def test_no_altered_hash_or_record_is_proven() -> None:
    for at in range(len(PROOF.path)):
        hashes = [*PROOF.path[:at], bytes(32), *PROOF.path[at + 1 :]]
        altered = [b64encode(one).decode() for one in hashes]
        assert ReadProof.from_json({**JSON, "hashes": altered}).check([SIGNER.key])[1]
    assert ReadProof.from_json({**JSON, "record": LINES[5].decode()}).check([SIGNER.key])[1]
    assert ReadProof.from_json({**JSON, "hashes": JSON["hashes"][:-1]}).check([SIGNER.key])[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"index": "4"},
        {"index": True},
        {"index": -1},
        {"record": 1},
        {"record": "\ud800"},
        {"checkpoint": None},
        {"hashes": "x"},
        {"hashes": ["AAAA"]},
        {"hashes": [1]},
        {"hashes": ["*"]},
        {"hashes": ["A" * 43 + "="] * 65},
        {"hashes": ["A" * 42 + "B="]},
    ],
)
def test_malformed_json_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ReadProof.from_json({**JSON, **changed})
    with pytest.raises(ValueError, match="object"):
        ReadProof.from_json([])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c2sp.org", "c2sp.com"),
        ("extra ", "extras "),
        ("extra ", "extra *"),
        ("index 4", "index 04"),
        ("index 4", "index -4"),
        ("index 4", "index ４"),
        ("index 4", "4"),
        ("\n\n", "\n"),
    ],
)
def test_malformed_text_is_refused(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ReadProof.from_text(as_text(PROOF).replace(old, new))
