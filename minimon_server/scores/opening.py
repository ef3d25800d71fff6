"""From files to an open ledger: compared with what was signed, mended where a crash left it, or refused.

Order is everything here: a checkpoint of size 0 is on disk before the first record, so that its absence beside records
means something; whatever lies past the checkpoint is written anew before anything is signed over it, since after a
failed sync the page cache may show lines that the disk never got.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass

from minimon_server.disk import read_parts, sync_folder, write_parts, write_whole
from minimon_server.errors import Text
from minimon_server.logs import Logger
from minimon_server.scores import records, rewriting, scan
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.leaves import LeafStore
from minimon_server.scores.ledger import Ledger, Paths
from minimon_server.scores.merkle import Tree, leaf_hash
from minimon_server.scores.notes import BadNote, Checkpoint, NoteSigner, open_note
from minimon_server.scores.places import Places
from minimon_server.scores.public_keys import PublicKey
from minimon_server.scores.scan import Line, Remainder, Tampered
from minimon_server.scores.signing import SigningKey


@dataclass(frozen=True, slots=True)
class Opened:
    """A ledger that may be written, the keys that signed for it, and when its last record was issued."""

    ledger: Ledger
    ring: KeyRing
    last_line: bytes | None


class Opening:
    """One start of one ledger, step by step; the caller holds the lock."""

    def __init__(
        self,
        paths: Paths,
        private: SigningKey,
        current: PublicKey,
        judge: Callable[[bytes, KeyRing], Text | None],
        log: Logger,
        *,
        new_name: Callable[[], str],
        stamp: Callable[[], str],
    ) -> None:
        """`judge`: what is wrong with one line, or None; `new_name` names a new log, `stamp` what is set aside."""
        self._paths, self._private, self._current = paths, private, current
        self._judge, self._log, self._new_name, self._stamp = judge, log, new_name, stamp
        self._places = Places()
        self._known, self._strangers = set[bytes](), dict[bytes, int]()
        self.read = 0  # records so far, for whoever waits
        self.abandoned = False  # set from another thread: nobody waits any more
        self.ring: KeyRing | None = None  # known before the records are, and even when those are refused

    def open(self) -> Opened:
        """Return the ledger; raise `Tampered` when it must not be written, `OSError` when the disk refuses."""
        if done := rewriting.finish(self._paths):
            start, size = done
            self._log.warning("an interrupted rewriting of the last records was finished", offset=start, bytes=size)
        signer, checkpoint, ring = self._signed_state()
        self.ring, self._known = ring, {key.key_id.encode() for key in ring.scores}
        descriptor = self._open_file()
        try:
            leaves = LeafStore(self._paths.beside("leaves"))
        except OSError:
            os.close(descriptor)
            raise
        try:
            tree, last = self._walk(descriptor, checkpoint, ring, leaves)
        except BaseException:
            os.close(descriptor)
            leaves.close()
            raise
        for key_id, number in self._strangers.items():
            # No refusal: they may have been adopted so. But an older file of keys, put back, looks like this too.
            self._log.error("records by a key that is not published", key_id=key_id.decode(), first=number + 1)
        former = ring.jwks()
        ring = ring.with_score_key(self._current)
        if ring.jwks() != former:
            write_whole(self._paths.beside("keys"), ring.note(signer))
            self._log.info("score key published", key_id=self._current.key_id, keys=len(ring.scores))
        ledger = Ledger(self._paths, descriptor, self._places, leaves, tree, signer)
        if tree.size != checkpoint.size or len(leaves) != leaves.flushed:
            ledger.save_checkpoint()
        return Opened(ledger, ring, last)

    def _signed_state(self) -> tuple[NoteSigner, Checkpoint, KeyRing]:
        """Return what was signed before, or make the first checkpoint of a ledger that does not exist yet."""
        checkpoint, keys = self._paths.beside("checkpoint"), self._paths.beside("keys")
        has_records = self._paths.ledger.exists() and self._paths.ledger.stat().st_size > 0
        if not checkpoint.exists():
            if has_records or keys.exists():
                raise Tampered(lost(checkpoint.name))
            signer = NoteSigner(self._new_name(), self._private)
            write_whole(checkpoint, signer.sign(Checkpoint(signer.key.name, 0, Tree(_none).root()).text()))
        note = checkpoint.read_bytes()
        signer = NoteSigner(origin_of(note), self._private)
        try:
            signed = Checkpoint.from_text(open_note(note, [signer.key]))
            if signed.origin != signer.key.name:
                raise BadNote("the checkpoint is another log's")
            if not keys.exists():
                if signed.size or has_records:
                    raise Tampered(lost(keys.name))
                ring = KeyRing([self._current], [signer.key])
                write_whole(keys, ring.note(signer))
            return signer, signed, KeyRing.from_note(keys.read_bytes(), [signer.key])
        except BadNote as error:
            raise Tampered(
                Text(
                    f"le point de contrôle ou les clés du registre ne sont pas signés comme il faut ({error}) ; si la "
                    "clé du journal a changé : python -m minimon_server.scores adopt",
                    f"the ledger's checkpoint or keys are not signed as they must be ({error}); if the checkpoint key "
                    "was changed: python -m minimon_server.scores adopt",
                )
            ) from error

    def _open_file(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._paths.ledger, flags, 0o644)
        try:
            # Its lock bears the ledger's name, and a ledger may have two: links lead here too.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_folder(self._paths.ledger.parent)  # always: a start that made the file may have died before this
        except BlockingIOError as error:
            os.close(descriptor)
            raise Tampered(_IN_USE) from error
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _walk(
        self, descriptor: int, checkpoint: Checkpoint, ring: KeyRing, leaves: LeafStore
    ) -> tuple[Tree, bytes | None]:
        """Read the whole file; return the tree over it and its last line."""
        size = checkpoint.size
        tree = scan.tree_of(leaves.read, min(size, len(leaves)))
        stored = leaves.read if (tree.size, tree.root()) == (size, checkpoint.root) else None
        if stored is None:
            self._log.warning("leaf hashes are missing or wrong: they are made anew", stored=len(leaves), signed=size)
            tree = Tree(leaves.read)
            if len(leaves):  # they may yet show what was done, if it is the checkpoint that is wrong
                write_whole(self._paths.beside(f"leaves-{self._stamp()}"), leaves.read(0, len(leaves)))
        leaves.keep(size if stored else 0)
        remainder, last = Remainder(), None

        def known(line: Line, leaf: bytes) -> None:
            nonlocal last
            if stored is None:
                leaves.append(leaf)
            last = line.data
            self._place(line)

        with open(descriptor, "rb", closefd=False) as file:
            found = scan.lines(file, remainder)
            scan.compare(found, size, checkpoint.root, stored, tree, known)
            start = self._places.end
            for line in found:
                self._check_tail(line, ring)
                last = line.data
                self._place(line)
                leaves.append(leaf := leaf_hash(line.data))
                tree.append(leaf)
        if tree.size == size and len(leaves) < size:
            raise AssertionError("leaf hashes were lost on the way")
        self._set_aside(descriptor, remainder)
        if tree.size > size:
            self._log.warning("records past the checkpoint are written anew", first=size + 1, last=tree.size)
            rewriting.rewrite(descriptor, start, self._paths)
        return tree, last

    def _place(self, line: Line) -> None:
        if self.abandoned:
            raise InterruptedError(errno.EINTR, "the server is ending")
        try:
            score_id, key = records.id_of(line.data), records.keys_of(line.data)
        except ValueError as error:
            raise _at(line, Text("ce n'est pas un enregistrement", f"not a record ({error})")) from error
        self._places.add((len(line.data) + 1,))
        self._places.name(((score_id, line.number),), ((key, line.number),) if key else ())
        signed_by = records.key_id_of(line.data)
        if signed_by and signed_by not in self._known:
            self._strangers.setdefault(signed_by, line.number)
        self.read = line.number + 1

    def _check_tail(self, line: Line, ring: KeyRing) -> None:
        """Past the checkpoint nothing vouches for a line but its own signature."""
        try:
            score_id = records.id_of(line.data)
        except ValueError as error:
            raise _at(line, Text("ce n'est pas un enregistrement", f"not a record ({error})")) from error
        if self._places.with_id(score_id):  # 64 bits of it: no chance in a ledger that one machine can write
            raise _at(line, Text("cet identifiant est déjà dans le registre", "its id is in the ledger already"))
        if wrong := self._judge(line.data, ring):
            raise _at(line, wrong)

    def _set_aside(self, descriptor: int, remainder: Remainder) -> None:
        """Keep an unterminated last line under another name: nobody was ever told that it was recorded."""
        start, end = remainder.offset, os.fstat(descriptor).st_size
        if not remainder.data and end == start:
            return
        if any(b"\n" in part for part in read_parts(descriptor, start, end)):
            # Whole lines follow, which somebody may have been told of: this is no last line, but damage before them.
            wrong = Text("ce n'est pas un enregistrement (trop long)", "not a record (too long)")
            raise _at(Line(len(self._places), start, b""), wrong)
        aside = self._paths.beside(f"torn-{self._stamp()}")
        write_parts(aside, read_parts(descriptor, start, end))
        os.ftruncate(descriptor, start)
        os.fdatasync(descriptor)
        self._log.warning("an unterminated last line was set aside", file=aside.name, bytes=end - start)


_IN_USE = Text(
    "un autre processus écrit ce registre sous un autre nom ; à chaque serveur le sien",
    "another process is writing this ledger under another name; each server needs its own",
)


def _none(start: int, end: int) -> bytes:
    raise AssertionError(f"an empty tree was asked for leaves {start} to {end}")


def origin_of(note: bytes) -> str:
    """Return the name that a checkpoint gives its log, before anything of it is verified."""
    name = note.partition(b"\n")[0].decode("utf-8", "replace")
    return name if name and not set(name) & set(" +\t") else "malformed"


def lost(name: str) -> Text:
    """Return what to tell of a file beside the ledger that is missing."""
    return Text(
        f"{name} manque alors que le registre a commencé : restaurez-le d'une sauvegarde, ou reconnaissez le registre "
        "tel qu'il est : python -m minimon_server.scores adopt",
        f"{name} is missing although the ledger has begun: restore it from a backup, or vouch for the ledger as it is: "
        "python -m minimon_server.scores adopt",
    )


def _at(line: Line, wrong: Text) -> Tampered:
    number = line.number + 1
    text = Text(f"enregistrement {number} : {wrong.fr}", f"record {number}: {wrong.en}")
    return Tampered(text, record=number, offset=line.offset)
