"""The file that jobs are in: its schema, its versions, its lock, its rows. Knows no thread and no rule of jobs."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from minimon_server.disk import make_folder, sync_folder
from minimon_server.errors import StartupError
from minimon_server.jobs.job import Job
from minimon_server.jobs.records import NewerRecord, read_job, written_record, written_request

# One script a version: a journal of an older version runs those that it lacks, in one transaction each.
MIGRATIONS: Final = (
    """
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        fence INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE TABLE requests (number INTEGER PRIMARY KEY, request BLOB NOT NULL) STRICT;
    CREATE TABLE keys (
        key TEXT PRIMARY KEY,
        body TEXT NOT NULL,
        number INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX keys_by_job ON keys (number);
    CREATE TABLE gone (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
    """,
)
VERSION: Final = len(MIGRATIONS)
MEMORY: Final = ":memory:"


class Lost(Exception):
    """The row has another fence: somebody else has written it."""


class Journal:
    """One SQLite file. One process has it open, one thread at a time calls this."""

    def __init__(self, path: Path | None) -> None:
        """Open or make the journal at `path`, or one in memory; raise `StartupError` when that cannot be."""
        self._lock: int | None = None
        self.path = path
        try:
            if path is not None:
                make_folder(path.parent)
                self._lock = _locked(path)
                # Prompts are nobody else's business: SQLite makes its other files with the rights of this one.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.db = sqlite3.connect(path or MEMORY, isolation_level=None, check_same_thread=False)
            self._prepare()
            if path is not None:
                sync_folder(path.parent)
        except (OSError, sqlite3.Error) as error:
            self._unlock()
            raise unusable(path, error) from error
        except StartupError:
            self._unlock()
            raise

    def close(self) -> None:
        """Close the file and let others have it."""
        self.db.close()
        self._unlock()

    def _prepare(self) -> None:
        # FULL: a commit returns after the write-ahead log is on the disk. That is what a 202 promises.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "wal_autocheckpoint = 1000"):
            self.db.execute(f"PRAGMA {pragma}")
        found = _version(self.db, self.path)
        for number, script in enumerate(MIGRATIONS[found:], found + 1):
            self.db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # rows

    def jobs(self) -> Iterator[Job]:
        """Yield every job in the order of acceptance; raise `StartupError` for one that cannot be read."""
        rows = self.db.execute(
            "SELECT id, number, state, fence, request, record FROM jobs JOIN requests USING (number) ORDER BY number"
        )
        for row in rows:
            try:
                yield read_job(*row)
            except NewerRecord as error:
                raise StartupError([f"MINIMON_JOBS_PATH: a later version has written job {row[0]}"]) from error
            except (KeyError, TypeError, ValueError) as error:
                raise StartupError([f"MINIMON_JOBS_PATH: job {row[0]} cannot be read: {error!r}"]) from error

    def last_number(self) -> int:
        """Return the highest number that was ever given to a job."""
        tables = "SELECT number FROM jobs UNION ALL SELECT number FROM gone"
        return int(self.db.execute(f"SELECT coalesce(max(number), 0) FROM ({tables})").fetchone()[0])  # noqa: S608

    def insert(self, job: Job, key: str | None, body: str) -> None:
        """Write a new job, and the idempotency key that it came with."""
        self.db.execute(
            "INSERT INTO jobs (number, id, state, fence, record) VALUES (?, ?, ?, ?, ?)",
            (job.number, job.id, job.state.value, int(job.fence), written_record(job)),
        )
        self.db.execute("INSERT INTO requests VALUES (?, ?)", (job.number, written_request(job)))
        if key is not None:
            self.db.execute("INSERT INTO keys VALUES (?, ?, ?)", (key, body, job.number))

    def by_key(self, key: str) -> tuple[str, str] | None:
        """Return the id of the job that came with this key, and the digest of its body."""
        query = "SELECT id, body FROM keys JOIN jobs USING (number) WHERE key = ?"
        row: tuple[str, str] | None = self.db.execute(query, (key,)).fetchone()
        return row

    def swap(self, job: Job, fence: str) -> None:
        """Write a job if its row still bears `fence`; raise `Lost` if not. The compare-and-set of every change."""
        changed = self.db.execute(
            "UPDATE jobs SET state = ?, fence = ?, record = ? WHERE number = ? AND fence = ?",
            (job.state.value, int(job.fence), written_record(job), job.number, int(fence)),
        )
        if changed.rowcount != 1:
            raise Lost(job.id)

    def remove(self, jobs: Sequence[Job], most_gone: int) -> None:
        """Remove jobs, and remember the ids of the last `most_gone` that were."""
        for job in jobs:
            for table in ("jobs", "requests", "keys"):
                self.db.execute(f"DELETE FROM {table} WHERE number = ?", (job.number,))  # noqa: S608
        self.db.executemany("INSERT OR IGNORE INTO gone VALUES (?, ?)", [(job.number, job.id) for job in jobs])
        extra = self.db.execute("SELECT count(*) FROM gone").fetchone()[0] - most_gone
        if extra > 0:
            self.db.execute(
                "DELETE FROM gone WHERE number IN (SELECT number FROM gone ORDER BY number LIMIT ?)", (extra,)
            )

    def probe(self) -> None:
        """Write as much as a long request takes, and take it away again: raises what a full disk would."""
        self.db.execute("INSERT INTO requests VALUES (0, zeroblob(65536))")
        self.db.execute("DELETE FROM requests WHERE number = 0")

    def is_gone(self, job_id: str) -> bool:
        """Return whether this id is remembered as that of a removed job."""
        return self.db.execute("SELECT 1 FROM gone WHERE id = ?", (job_id,)).fetchone() is not None


def check(path: Path) -> None:
    """Raise `StartupError` for a journal that this program cannot read; change nothing, and make none."""
    if not path.exists():
        return
    # A journal that nobody has open is read as it lies there: otherwise SQLite would make its two files beside it.
    lies = "" if path.with_name(path.name + "-wal").exists() else "&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{lies}", uri=True)) as db:
            _version(db, path)
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise unusable(path, found)
    except sqlite3.Error as error:
        raise unusable(path, error) from error


def unusable(path: Path | None, reason: object) -> StartupError:
    """Return what stops a start when the file cannot be read or written, or is not whole."""
    return StartupError([f"MINIMON_JOBS_PATH: {path} cannot be used as a journal: {reason}"])


def _version(db: sqlite3.Connection, path: Path | None) -> int:
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise StartupError([f"MINIMON_JOBS_PATH: {path} was written by a later version (journal version {found})"])
    return found


def _locked(path: Path) -> int:
    """Return a descriptor that holds the journal's lock; two servers on one journal would rob each other's jobs.

    The lock is a file of its own: POSIX drops locks of SQLite's file when any descriptor of it is closed.
    """
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StartupError([f"MINIMON_JOBS_PATH: another server uses {path}"], exit_status=1) from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
