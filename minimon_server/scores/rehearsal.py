"""What a start would find, keys and ledger, without making or changing anything; a server may be running meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime

from minimon_server.errors import StartupError
from minimon_server.scores import key_files
from minimon_server.scores.audit import audit, describe
from minimon_server.scores.evidence import gather
from minimon_server.scores.key_files import KeyFiles
from minimon_server.scores.ledger import Paths
from minimon_server.scores.notes import NoteKey, NoteSigner
from minimon_server.scores.opening import lost, origin_of
from minimon_server.scores.signing import SigningKey


def rehearse(
    files: KeyFiles, passphrase: bytes | None, paths: Paths, now: datetime, tell: Callable[[str], None]
) -> None:
    """Raise `StartupError` with whatever would stop a start, or stop it from certifying; `tell` hears the rest."""
    begun = paths.beside("checkpoint").exists()
    signing = None
    if not passphrase and key_files.signing_pair_is_missing(files):
        tell(f"{files.key} and {files.certificate} are missing: the first start will make them.")
    else:
        signing = key_files.load_signing_key(files, passphrase, now, tell)  # makes nothing where a passphrase is
    if not begun and not os.path.lexists(files.checkpoint):
        tell(f"{files.checkpoint} is missing: the first start will make it.")
        log = None
    elif signing:
        log = key_files.load_checkpoint_key(files, signing.public, tell, may_make=False)
    else:
        log = key_files.read_checkpoint_key(files.checkpoint)
    _rehearse_opening(paths, log, tell)


def _rehearse_opening(paths: Paths, log: SigningKey | None, tell: Callable[[str], None]) -> None:
    ledger, checkpoint, keys = paths.ledger, paths.beside("checkpoint"), paths.beside("keys")
    try:
        records = ledger.exists() and ledger.stat().st_size > 0
        if not checkpoint.exists():
            if records or keys.exists():
                raise StartupError([f"{ledger}: {lost(checkpoint.name).en}"])
            tell(f"{ledger} is missing or empty: the first start will begin it.")
            return
        if records and not keys.exists():
            raise StartupError([f"{ledger}: {lost(keys.name).en}"])
        if paths.beside("tail").exists():
            tell(f"{ledger}: the next start will finish writing its last records anew.")
        logs: list[NoteKey] = [NoteSigner(origin_of(checkpoint.read_bytes()), log).key] if log else []
        evidence = gather(ledger, logs=logs)
        if not ledger.exists():
            mistakes = [fault.en for fault in evidence.faults]
            if evidence.checkpoint and evidence.checkpoint.size:
                mistakes.append(f"it is missing, and its checkpoint signed {evidence.checkpoint.size} records")
        else:
            report = audit(ledger, evidence, live=True, trust_checkpoint=True)
            mistakes = [*describe(report.findings), *([f"... and {report.more} more"] if report.more else [])]
            if report.unterminated:
                tell(f"{ledger}: the last line is unterminated; unless a server is writing it, a start sets it aside.")
    except OSError as error:
        raise StartupError([f"cannot read {error.filename or ledger}: {error.strerror}"]) from error
    if mistakes:
        raise StartupError([f"{ledger}: {mistake}" for mistake in mistakes])
