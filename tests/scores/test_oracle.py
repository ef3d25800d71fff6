"""Trees, proofs, notes and keys of ours, judged by the Go team's own implementation, all of them in one run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minimon_server.scores.merkle import HASH_BYTES, Tree, leaf_hash
from minimon_server.scores.notes import Checkpoint, NoteSigner
from minimon_server.scores.signing import SigningKey

SOURCE = Path(__file__).resolve().parent / "oracle" / "main.go"
DEBIAN = Path("/usr/share/gocode")
MOST = 256
pytestmark = pytest.mark.skipif(
    not (shutil.which("go") and (DEBIAN / "src/golang.org/x/mod").exists()) and os.environ.get("CI") != "true",
    reason="Go and golang.org/x/mod are not installed here (Debian: golang-go, golang-golang-x-mod-dev)",
)
Question = Mapping[str, object]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the program once, from Debian's packages and without a network."""
    folder = tmp_path_factory.mktemp("oracle")
    environ = {"GOPATH": str(DEBIAN), "GO111MODULE": "off", "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    command = ["go", "build", "-o", str(folder / "oracle"), str(SOURCE)]
    subprocess.run(command, cwd=folder, env=os.environ | environ, check=True)
    return folder / "oracle"


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def ask(oracle: Path, questions: Sequence[Question]) -> list[str]:
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([oracle], input=lines, capture_output=True, text=True, check=True)
    answers = done.stdout.splitlines()
    assert len(answers) == len(questions)
    return answers


def grown(count: int) -> tuple[Tree, list[bytes]]:
    leaves = [leaf_hash(b"record %d" % number) for number in range(count)]
    tree = Tree(lambda start, end: b"".join(leaves[start:end]))
    for leaf in leaves:
        tree.append(leaf)
    return tree, leaves


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def test_records_and_roots(oracle: Path) -> None:
    tree, leaves = grown(600)
    records = [b"", b"\0", "Éloïse".encode(), b"x" * 100_000]
    questions: list[Question] = [{"Kind": "record", "Record": b64(one), "Leaf": b64(leaf_hash(one))} for one in records]
    for size in [*range(1, MOST + 1), 511, 512, 513, 600]:
        all_leaves = [b64(leaf) for leaf in leaves[:size]]
        questions.append({"Kind": "tree", "Leaves": all_leaves, "Root": b64(tree.root(size))})
    assert set(ask(oracle, questions)) == {"accepted"}
    wrong = [{**questions[0], "Leaf": b64(bytes(HASH_BYTES))}, {**questions[-1], "Root": b64(bytes(HASH_BYTES))}]
    assert ask(oracle, wrong) == ["refused: another leaf hash", "refused: another root"]


def test_every_inclusion_proof(oracle: Path) -> None:
    tree, leaves = grown(MOST)
    questions, false = list[Question](), list[Question]()
    for size in range(1, MOST + 1):
        root = b64(tree.root(size))
        for index in range(size):
            path = [b64(step) for step in tree.inclusion(index, size)]
            question = {"Kind": "inclusion", "Size": size, "Index": index, "Root": root, "Hashes": path}
            questions.append({**question, "Leaf": b64(leaves[index])})
            if size % 37 == 0:
                false.append({**question, "Leaf": b64(flipped(leaves[index]))})
    assert len(questions) == MOST * (MOST + 1) // 2
    assert set(ask(oracle, questions)) == {"accepted"}
    assert all(answer.startswith("refused") for answer in ask(oracle, false))


def test_every_consistency_proof(oracle: Path) -> None:
    tree, _ = grown(MOST)
    roots = [tree.root(size) for size in range(MOST + 1)]
    questions: list[Question] = [
        {
            "Kind": "consistency",
            "Size": new,
            "Old": old,
            "Root": b64(roots[new]),
            "OldRoot": b64(roots[old]),
            "Hashes": [b64(step) for step in tree.consistency(old, new)],
        }
        for new in range(1, MOST + 1)
        for old in range(1, new + 1)
    ]
    assert set(ask(oracle, questions)) == {"accepted"}
    false = [{**one, "OldRoot": b64(flipped(roots[MOST]))} for one in questions[::97]]
    assert all(answer.startswith("refused") for answer in ask(oracle, false))


def test_notes_and_their_keys(oracle: Path) -> None:
    tree, _ = grown(MOST)
    signer = NoteSigner("minimon-scores/0123456789abcdef", SigningKey(Ed25519PrivateKey.generate()))
    stranger = NoteSigner(signer.key.name, SigningKey(Ed25519PrivateKey.generate()))
    questions, false = list[Question](), list[Question]()
    for size in (1, 2, 255, MOST):
        text = Checkpoint(signer.key.name, size, tree.root(size)).text()
        question = {"Kind": "note", "Vkey": signer.key.vkey, "Text": text, "Size": size, "Root": b64(tree.root(size))}
        questions.append({**question, "Note": signer.sign(text).decode()})
        false.append({**question, "Note": stranger.sign(text).decode()})
        false.append({**question, "Note": signer.sign(text).decode(), "Vkey": signer.key.vkey[:-4] + "AAAA"})
    assert set(ask(oracle, questions)) == {"accepted"}
    assert all(answer.startswith("refused") for answer in ask(oracle, false))
