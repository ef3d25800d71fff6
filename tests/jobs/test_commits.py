"""The thread that writes the journal: shared transactions, full disks, and commits of which nobody knows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from minimon_server.errors import StartupError
from minimon_server.jobs import journal as journals
from minimon_server.jobs.commits import Commits
from minimon_server.jobs.job import State
from minimon_server.jobs.journal import Journal
from minimon_server.jobs.store import Unavailable, Unknown
from tests.jobs.scene import VirtualClock, draft, job_id, quiet, request
from tests.jobs.working import sqlite_store


def on_commits(db: sqlite3.Connection, scene: Callable[[Commits], Awaitable[None]]) -> None:
    """Run a scene on a writing thread."""

    async def run() -> None:
        commits = Commits(db, quiet())
        try:
            await scene(commits)
        finally:
            commits.close()

    asyncio.run(run())


def table(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    return db


def test_many_writes_share_a_transaction_and_one_that_fails_undoes_itself_alone(tmp_path: Path) -> None:
    db = table(tmp_path / "db")
    begun: list[str] = []
    db.set_trace_callback(lambda statement: begun.append(statement) if statement.startswith("BEGIN") else None)
    followed: list[int] = []

    def write(number: int) -> int:
        db.execute("INSERT INTO t VALUES (?)", (number,))
        if number % 10 == 3:
            raise ValueError(number)
        return number

    async def scene(commits: Commits) -> None:
        asked = [commits.ask(lambda number=number: write(number), followed.append) for number in range(200)]  # type: ignore[misc] # a default binds each number
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [one for one in answers if isinstance(one, int)] == [n for n in range(200) if n % 10 != 3]
        assert sum(isinstance(one, ValueError) for one in answers) == 20

    on_commits(db, scene)
    assert len(begun) < 100
    assert followed == [number for number in range(200) if number % 10 != 3]
    assert [row[0] for row in db.execute("SELECT x FROM t ORDER BY x")] == followed
    db.close()


def test_memory_follows_even_when_nobody_waits_for_the_answer(tmp_path: Path) -> None:
    db = table(tmp_path / "db")
    followed: list[object] = []

    async def scene(commits: Commits) -> None:
        commits.ask(lambda: db.execute("INSERT INTO t VALUES (1)").rowcount, followed.append).cancel()
        await commits.ask(lambda: 0)

    on_commits(db, scene)
    assert followed == [1]
    db.close()


def test_a_full_disk_is_unavailable_and_then_room_is_room(tmp_path: Path) -> None:
    async def scene() -> None:
        store = sqlite_store(tmp_path, VirtualClock())
        db = store._journal.db
        await store.accept(draft("first"))
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable):
            await store.accept(draft("large", asked=request(prompt="x" * 30_000)))
        assert "full" in (store.trouble or "")
        assert await store.get(job_id("large")) is None
        await store.sweep()
        assert "full" in (store.trouble or "")  # looking is not writing
        db.execute("PRAGMA max_page_count = 100000")
        await store.sweep()
        assert store.trouble is None  # nobody had to be refused for it to be seen
        await store.accept(draft("large", asked=request(prompt="x" * 30_000)))
        assert store.trouble is None
        store.close()
        again = sqlite_store(tmp_path, VirtualClock())
        assert len(await again.list(10)) == 2
        again.close()

    asyncio.run(scene())


class Torn(sqlite3.Connection):
    """A connection whose commit fails as a disk does."""

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            super().execute("ROLLBACK")
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return super().execute(sql, *arguments)  # type: ignore[arg-type] # as they came


def test_after_a_commit_in_doubt_nothing_is_written_any_more(tmp_path: Path) -> None:
    table(tmp_path / "db").close()
    db = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False, factory=Torn)

    async def scene(commits: Commits) -> None:
        with pytest.raises(Unknown):
            await commits.ask(lambda: db.execute("INSERT INTO t VALUES (1)"))
        assert commits.trouble == commits.hindrance == "disk I/O error"
        with pytest.raises(Unavailable):
            await commits.ask(lambda: db.execute("SELECT 1"))

    on_commits(db, scene)
    db.close()


def test_a_journal_that_is_not_whole_stops_the_start_in_one_line(tmp_path: Path) -> None:
    async def fill() -> None:
        store = sqlite_store(tmp_path, VirtualClock())
        for number in range(200):
            await store.accept(draft(number))
        store.close()

    asyncio.run(fill())
    path = tmp_path / "jobs.sqlite"
    journals.check(path)
    data = bytearray(path.read_bytes())
    for page in range(8192, len(data), 4096):
        data[page : page + 64] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(StartupError, match=r"MINIMON_JOBS_PATH.*malformed"):
        sqlite_store(tmp_path, VirtualClock())
    with pytest.raises(StartupError, match="MINIMON_JOBS_PATH"):
        journals.check(path)


def test_two_servers_cannot_have_one_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path / "jobs.sqlite")
    with pytest.raises(StartupError, match="another server uses"):
        Journal(tmp_path / "jobs.sqlite")
    first.close()
    Journal(tmp_path / "jobs.sqlite").close()


def test_a_journal_of_a_later_version_or_none_at_all_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    journal = Journal(path)
    journals.check(path)  # a server that runs does not mind
    journal.db.execute(f"PRAGMA user_version = {journals.VERSION + 1}")
    journal.close()
    for look in (Journal, journals.check):
        with pytest.raises(StartupError, match="a later version"):
            look(path)
    (tmp_path / "text").write_text("this is no database, and longer than a header" * 100)
    for look in (Journal, journals.check):
        with pytest.raises(StartupError, match="cannot be used as a journal"):
            look(tmp_path / "text")
    journals.check(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(StartupError, match="cannot be used as a journal"):
        Journal(tmp_path / "text" / "jobs.sqlite")


def test_an_older_journal_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.sqlite"

    async def accept() -> None:
        store = sqlite_store(tmp_path, VirtualClock())
        await store.accept(draft(1))
        store.close()

    asyncio.run(accept())
    monkeypatch.setattr(journals, "MIGRATIONS", (*journals.MIGRATIONS, "CREATE TABLE later (x INTEGER) STRICT"))
    monkeypatch.setattr(journals, "VERSION", len(journals.MIGRATIONS))
    journal = Journal(path)
    assert journal.db.execute("SELECT count(*) FROM later").fetchone() == (0,)
    assert [(job.id, job.state) for job in journal.jobs()] == [(job_id(1), State.PENDING)]
    journal.close()


def test_a_damaged_record_stops_the_start_and_is_named(tmp_path: Path) -> None:
    async def scene() -> None:
        store = sqlite_store(tmp_path, VirtualClock())
        await store.accept(draft(1))
        store._journal.db.execute("UPDATE jobs SET record = x'7b7d'")
        store.close()
        with pytest.raises(StartupError, match=job_id(1)):
            sqlite_store(tmp_path, VirtualClock())
        Journal(tmp_path / "jobs.sqlite").close()  # nobody holds its lock

    asyncio.run(scene())


def test_a_commit_reaches_the_disk_before_it_is_answered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs.sqlite")
    assert (tmp_path / "jobs.sqlite").stat().st_mode & 0o777 == 0o600
    assert journal.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal.db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    journal.close()
