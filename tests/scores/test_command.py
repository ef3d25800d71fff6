"""`python -m minimon_server.scores` as people run it: a process, its words, its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from minimon_server.scores import proofs
from minimon_server.scores.ledger import Proof
from minimon_server.scores.lock import LedgerLock
from minimon_server.scores.notes import Checkpoint
from tests.scores.ledgers import NAME, SIGNER, Made, log_key_pem, make, ring, signing_key, some_lines, tree_over
from tests.support import HOME

LINES = some_lines(7)
JWK = {name: value for name, value in ring().jwks()["keys"][0].items() if not name.startswith("minimon:")}
VKEY = SIGNER.key.vkey


def run(*arguments: str | Path, given: bytes = b"") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "minimon_server.scores", *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, cwd=HOME, env={}, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def answered(*arguments: str | Path, given: bytes = b"") -> dict[str, object]:
    status, out, err = run(*arguments, "--json", given=given)
    answer: dict[str, object] = json.loads(out)
    assert err == ""
    assert {0: True, 1: False, 2: None}[status] is answer["valid"]
    return answer


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path, LINES)


def proof(size: int = 7) -> Proof:
    tree = tree_over(LINES)
    note = SIGNER.sign(Checkpoint(NAME, size, tree.root(size)).text())
    return Proof(4, LINES[4], tree.inclusion(4, size), size, tree.root(size), note)


def test_a_signed_score(made: Made, tmp_path: Path) -> None:
    record = json.loads(LINES[4])
    answer = json.dumps({"signed": record["signed"], "generatedAt": record["generatedAt"]}).encode()
    file = tmp_path / "certified.json"
    file.write_bytes(answer)
    status, out, err = run("verify", file, "--keys", made.keys)
    assert (status, err) == (0, "")
    assert out.startswith('VALID: score 12.5 of "\\u00c9lo\\u00efse", mnm_')
    assert answered("verify", "-", "--keys", made.keys, given=json.dumps(record["signed"]).encode())["valid"]
    status, out, _ = run("verify", "-", "--keys", made.keys, given=answer.replace(b"12.5", b"99.5"))
    assert (status, out.splitlines()[0]) == (
        1,
        "NOT VALID: The payload that is shown is not the one that was signed (canonicalB64).",
    )
    assert run("verify", "-", "--keys", made.keys, given=b"{")[0] == 1


@pytest.mark.parametrize(
    "keys", [b"[" * 100_000, b'{"keys":[{"minimon:fingerprints":5}]}', b'{"keys":[{"kty":[],"crv":{}}]}', b"\xff", b"5"]
)
def test_hostile_keys_are_no_verdict(made: Made, tmp_path: Path, keys: bytes) -> None:
    (tmp_path / "hostile").write_bytes(keys.replace(b'{"minimon:f', json.dumps(JWK)[:-1].encode() + b',"minimon:f'))
    (tmp_path / "score").write_bytes(b"{}")
    status, out, err = run("verify", tmp_path / "score", "--keys", tmp_path / "hostile")
    assert (status, out) == (2, ""), err
    assert "holds no public keys that can be used" in err
    made.paths.beside("keys").write_bytes(b"a log keys\n" + keys + b"\n\n")
    status, out, err = run("verify", "--ledger", made.path)
    assert (status, out) == (2, ""), err
    assert "the keys beside the ledger: it keeps malformed keys" in err


def test_what_cannot_be_checked_is_told_apart(made: Made, tmp_path: Path) -> None:
    (tmp_path / "score").write_bytes(b"{}")
    for arguments, told in (
        (("verify", tmp_path / "nothing", "--keys", made.keys), "No such file"),
        (("verify", tmp_path / "score"), "give --keys"),
        (("verify", tmp_path / "score", "--keys", made.path), "no public keys that can be used"),
        (("verify", "--proof", tmp_path / "score"), "--vkey"),
        (("verify", "--proof", tmp_path / "score", "--vkey", "x"), "--vkey x: "),
        (("verify",), "takes one of"),
        (("verify", "-", "--ledger", made.path), "takes one of"),
        (("verify", "--consistency", tmp_path / "score"), "belong together"),
        (("verify", "-", "--checkpoint", tmp_path / "score"), "belongs to --ledger"),
        ((), "required"),
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert told in err
    made.paths.beside("keys").unlink()
    assert run("verify", "--ledger", made.path)[0] == 2


def test_a_proof_in_both_forms(made: Made) -> None:
    text = proofs.as_text(proof()).encode()
    document = proofs.as_json(proof(), json.loads(LINES[4])["signed"]["payload"]["id"])
    for given in (text, json.dumps(document).encode()):
        status, out, _ = run("verify", "--proof", "-", "--keys", made.keys, given=given)
        assert (status, out.splitlines()[0]) == (
            0,
            f"VALID: record 5 of the 7 that the checkpoint of {NAME} has signed",
        )
        assert "was not checked" in run("verify", "--proof", "-", "--vkey", VKEY, given=given)[1]
        assert run("verify", "--proof", "-", "--vkey", VKEY, given=given.replace(b"4", b"3", 1))[0] == 1
    for name, value in (("treeSize", 8), ("rootHash", "x"), ("leafHash", "x"), ("id", "mnm_" + "0" * 24)):
        given = json.dumps({**document, name: value}).encode()
        assert f"{name} contradicts" in run("verify", "--proof", "-", "--vkey", VKEY, given=given)[1]
    stranger = replace(proof(), line=LINES[4].replace(b"12.5", b"99.5"))
    assert run("verify", "--proof", "-", "--vkey", VKEY, given=proofs.as_text(stranger).encode())[0] == 1
    assert run("verify", "--proof", "-", "--vkey", VKEY, given=b"")[0] == 1


def test_growth_since_an_older_checkpoint(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(proof(5).checkpoint)
    tree = tree_over(LINES)
    answer = {
        "from": 5,
        "to": 7,
        "hashes": [proofs.b64(step) for step in tree.consistency(5, 7)],
        "checkpoint": proof().checkpoint.decode(),
    }

    def judged(changed: dict[str, object]) -> tuple[int, str]:
        given = json.dumps({**answer, **changed}).encode()
        return run("verify", "--consistency", "-", "--old-checkpoint", old, "--vkey", VKEY, given=given)[:2]

    assert judged({}) == (0, "VALID: the 7 records begin with the very 5 of the old checkpoint\n")
    rewritten = tree_over([*LINES[:3], LINES[6], *LINES[4:]])
    note = SIGNER.sign(Checkpoint(NAME, 7, rewritten.root()).text()).decode()
    assert "history was rewritten" in judged({"checkpoint": note})[1]
    assert judged({"hashes": []})[0] == 1
    assert judged({"hashes": "x"})[0] == 1
    assert judged({"checkpoint": "x"})[0] == 1
    assert judged({"from": 4})[0] == 2


def test_a_ledger(made: Made) -> None:
    status, out, _ = run("verify", "--ledger", made.path, "--vkey", VKEY)
    assert (status, out) == (0, "VALID: 7 records, every signature, the checkpoint over 7 of them\n")
    assert "Note: the keys are those beside the ledger" in run("verify", "--ledger", made.path)[1]
    made.write([*LINES[:2], *LINES[3:]])
    found = answered("verify", "--ledger", made.path, "--keys", made.keys)["findings"]
    assert isinstance(found, list)
    assert (found[0]["record"], found[0]["offset"]) == (3, len(LINES[0]) + len(LINES[1]) + 2)
    assert found[0]["text"] == "record 3 was deleted"


def test_adopting_an_older_ledger(tmp_path: Path) -> None:
    ledger, keys = tmp_path / "old.jsonl", make(tmp_path / "other", LINES).keys
    bare = [one[: one.index(b',"keyId"')] + b"}" for one in LINES]
    ledger.write_bytes(b"".join(one + b"\n" for one in bare))
    asked = ("adopt", ledger, "--checkpoint-key", log_key_pem(tmp_path), "--keys", keys)
    before = names(tmp_path)
    status, out, err = run(*asked)
    assert (status, out) == (2, "")
    assert "no findings" in err
    assert "Nothing was changed" in err
    assert names(tmp_path) - {"old.jsonl.lock"} == before
    assert run(*asked, "--yes")[0] == 0
    assert ledger.read_bytes().split(b"\n")[:-1] == bare
    assert run("verify", "--ledger", ledger, "--keys", keys)[0] == 1  # the log has a new name, and so a new key
    assert run("verify", "--ledger", ledger)[0] == 0


def test_adopting_after_an_edit_keeps_what_was_there_and_every_key(made: Made) -> None:
    edited = LINES[2].replace(b"12.5", b"99.5")
    made.write([*LINES[:2], edited, *LINES[3:]])
    key = log_key_pem(made.path.parent)
    former = {name: made.paths.beside(name).read_bytes() for name in ("checkpoint", "keys", "leaves")}
    status, out, _ = run("adopt", made.path, "--checkpoint-key", key, "--yes")
    assert status == 0
    assert "record 3 was changed" in out
    for name, content in former.items():
        (aside,) = made.path.parent.glob(f"*.{name}.old-*")
        assert aside.read_bytes() == content
    answer = answered("verify", "--ledger", made.path)
    assert [one["text"][:11] for one in answer["findings"]] == ["The payload"]  # type: ignore[attr-defined]
    assert signing_key().public.key_id.encode() in made.paths.beside("keys").read_bytes()
    assert NAME.encode() in made.paths.beside("keys").read_bytes()


def test_adopting_refuses_what_it_must(made: Made, tmp_path: Path) -> None:
    key = log_key_pem(tmp_path)
    asked = ("adopt", made.path, "--checkpoint-key", key, "--yes")
    lock = LedgerLock(made.paths)
    assert "another process" in run(*asked)[2]
    lock.release()
    made.paths.beside("tail").write_bytes(b"0\n")
    assert "start the server once" in run(*asked)[2]
    made.paths.beside("tail").unlink()
    made.write([*LINES, b"no record"])
    status, _, err = run(*asked)
    assert status == 2
    assert "record 8, byte" in err
    assert run("adopt", tmp_path / "nothing", "--checkpoint-key", key)[0] == 2
    assert "cannot read" in run("adopt", made.path, "--checkpoint-key", tmp_path / "nothing")[2]
    key.chmod(0o644)
    assert "chmod 600" in run(*asked)[2]


def test_nothing_of_the_server_is_needed_to_verify(made: Made) -> None:
    program = (
        "import sys; sys.argv = sys.argv[1:]; from minimon_server.scores.__main__ import main; status = main();"
        "print(status, [name for name in sys.modules if name.split('.')[0] in"
        " ('pydantic', 'starlette', 'uvicorn', 'structlog') or name.startswith(('minimon_server.web',"
        " 'minimon_server.settings'))])"
    )
    command = [sys.executable, "-c", program, "scores", "verify", "--ledger", str(made.path), "--vkey", VKEY]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HOME, env={}, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
