"""The lock beside the ledger: one writer, on this machine. Owns that file and nothing else."""

from __future__ import annotations

import fcntl
import os

from minimon_server.disk import make_folder
from minimon_server.errors import StartupError
from minimon_server.scores.ledger import Paths


class LedgerLock:
    """One writer: an flock on a file of its own, which ends with the process, however that ends.

    On a file of its own, and flock rather than fcntl's record locks, which vanish when any descriptor is closed.
    """

    def __init__(self, paths: Paths) -> None:
        """Take the lock, or raise `StartupError`."""
        path = paths.beside("lock")
        try:
            make_folder(path.parent)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError([f"MINIMON_SCORE_LEDGER_PATH: cannot write {path}: {error.strerror}"]) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            text = f"MINIMON_SCORE_LEDGER_PATH: another process is writing {paths.ledger}; each server needs its own"
            raise StartupError([text], exit_status=1) from error

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._descriptor)
