"""Signed notes and verifier keys against the example of the specification, and whatever is malformed about them."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.scores.notes import BadNote, Checkpoint, NoteKey, NoteSigner, open_note
from minimon_server.scores.signing import SigningKey
from tests.scores.ledgers import LOG_KEY, NAME, SIGNER

# C2SP signed-note.md and the documentation of golang.org/x/mod/sumdb/note: key and note.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
TEXT = Checkpoint(NAME, 3, bytes(32)).text()


def test_the_example_of_the_specification() -> None:
    key = NoteKey.from_vkey(VKEY)
    assert (key.name, key.id.hex(), key.vkey) == ("PeterNeumann", "c74f20a3", VKEY)
    assert open_note(NOTE, [key]).endswith("what your problem is.\n")
    with pytest.raises(BadNote, match="wrong"):
        open_note(NOTE.replace(b"think", b"drink"), [key])
    with pytest.raises(BadNote, match="not signed by a key that is known"):
        open_note(NOTE, [SIGNER.key])


def test_a_note_goes_out_and_in() -> None:
    note = SIGNER.sign(TEXT)
    assert open_note(note, [SIGNER.key]) == TEXT
    assert Checkpoint.from_text(TEXT) == Checkpoint(NAME, 3, bytes(32))
    assert NoteKey.from_vkey(SIGNER.key.vkey) == SIGNER.key
    assert note.startswith(f"{NAME}\n3\n{'A' * 43}=\n\n— {NAME} ".encode())


def test_signatures_of_others_are_passed_over_and_none_may_be_wrong() -> None:
    other = NoteSigner("witness.example", SigningKey(Ed25519PrivateKey.generate()))
    line = other.sign(TEXT).partition(b"\n\n")[2]
    both = SIGNER.sign(TEXT) + line
    assert open_note(both, [SIGNER.key]) == open_note(both, [other.key]) == TEXT
    with pytest.raises(BadNote, match="wrong"):
        open_note(SIGNER.sign(TEXT) + other.sign("another\n").partition(b"\n\n")[2], [SIGNER.key, other.key])


def test_no_altered_byte_passes() -> None:
    note = SIGNER.sign(TEXT)
    for at in range(len(note)):
        for mask in (1, 0x20, 0x80):
            altered = note[:at] + bytes([note[at] ^ mask]) + note[at + 1 :]
            with pytest.raises(BadNote):
                open_note(altered, [SIGNER.key])


@given(st.binary(max_size=200))
def test_whatever_comes_is_refused_with_a_reason(data: bytes) -> None:
    for note in (data, SIGNER.sign(TEXT)[:-1] + data, TEXT.encode() + b"\n" + data):
        if note != SIGNER.sign(TEXT):
            with pytest.raises(BadNote):
                open_note(note, [SIGNER.key])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        VKEY[:-4],
        VKEY.replace("c74f20a3", "c74f20a4"),
        VKEY.replace("PeterNeumann", "Peter Neumann"),
        VKEY.replace("+ARpc", "+BRpc"),
        f"x+00000000+{b64encode(bytes(33)).decode()}",
        "+".join(["x", "c74f20a3", "é"]),
    ],
)
def test_a_malformed_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(BadNote):
        NoteKey.from_vkey(vkey)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        "a\n1\n",
        "\n1\nAAAA\n",
        "a\n01\nAAAA\n",
        "a\n-1\nAAAA\n",
        "a\n1\nAAAA\n",
        "a\n1\n*\n",
        "a\n1e3\nAAAA\n",
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        Checkpoint.from_text(text)


def test_the_signer_is_the_key() -> None:
    assert SIGNER.key.public == LOG_KEY.public_key().public_bytes_raw()
