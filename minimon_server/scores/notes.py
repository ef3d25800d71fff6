"""Signed notes and the checkpoints inside them, as C2SP signed-note, note vkeys and tlog-checkpoint have them.

Ed25519 alone (signature type 0x01). Reads and writes no file.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from minimon_server.scores import base64url
from minimon_server.scores.merkle import HASH_BYTES
from minimon_server.scores.signing import SigningKey

_ED25519: Final = b"\1"
_MOST_BYTES: Final = 1_000_000
_NAME: Final = re.compile(r"[^\s+]+")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class BadNote(ValueError):
    """A note that is malformed, or not signed by a key that is known; the text says which."""


@dataclass(frozen=True, slots=True)
class NoteKey:
    """Whom a note may be signed by: a name and an Ed25519 public key."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that stand before each signature."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as one line of text, as Go's note package and C2SP tools take it."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def from_vkey(cls, text: str) -> Self:
        """Read what `vkey` writes; raise `BadNote` when it is none."""
        name, _, rest = text.strip().partition("+")
        digits, _, encoded = rest.partition("+")
        raw = _decode(encoded)
        if not _NAME.fullmatch(name) or len(raw) != 33 or raw[:1] != _ED25519:
            raise BadNote("not the verifier key of an Ed25519 note signer")
        key = cls(name, raw[1:])
        if key.id.hex() != digits:
            raise BadNote("the verifier key's id does not belong to its key")
        return key


class NoteSigner:
    """A private Ed25519 key under a name."""

    def __init__(self, name: str, key: SigningKey) -> None:
        self._sign = key.sign
        self.key = NoteKey(name, base64url.decode(key.public.jwk["x"]))

    def sign(self, text: str) -> bytes:
        """Return the whole note; `text` ends in a newline."""
        signature = self._sign(text.encode())
        line = f"\u2014 {self.key.name} {base64.b64encode(self.key.id + signature).decode()}\n"
        return f"{text}\n{line}".encode()


def open_note(note: bytes, keys: Sequence[NoteKey]) -> str:
    """Return the text of a note that at least one of `keys` has signed, and none of them wrongly; else `BadNote`."""
    if len(note) > _MOST_BYTES:
        raise BadNote("the note is too long")
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadNote("the note is not UTF-8") from error
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or any(ord(mark) < 32 and mark != "\n" for mark in whole):
        raise BadNote("the note is malformed")
    text += "\n"
    verified = False
    for line in lines[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        raw = _decode(encoded)
        if dash != "\u2014" or not _NAME.fullmatch(name) or len(raw) < 5:
            raise BadNote("a signature line of the note is malformed")
        for key in keys:
            if key.name == name and key.id == raw[:4]:
                _verify(key, raw[4:], text)
                verified = True
    if not verified:
        raise BadNote("the note is not signed by a key that is known")
    return text


def _verify(key: NoteKey, signature: bytes, text: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except InvalidSignature as error:
        raise BadNote(f"the note's signature by {key.name} is wrong") from error


def _decode(encoded: str) -> bytes:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadNote("the note holds malformed base64") from error
    if base64.b64encode(raw).decode("ascii") != encoded:  # stray last bits would give one note several spellings
        raise BadNote("the note holds base64 that is not in its one spelling")
    return raw


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself at one moment: whose it is, how many records, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the text of a note that has been verified; raise `BadNote` when it is no checkpoint."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or not _NUMBER.fullmatch(lines[1]):
            raise BadNote("the note is no checkpoint")
        root = _decode(lines[2])
        if len(root) != HASH_BYTES:
            raise BadNote("the checkpoint's root is no SHA-256 hash")
        return cls(lines[0], int(lines[1]), root)
