"""The thread that writes the journal: what is asked while one commit is on its way shares the next. Knows no job."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from minimon_server.jobs.store import Unavailable, Unknown
from minimon_server.logs import Logger

T = TypeVar("T")
MOST_TOGETHER: Final = 512
# What SQLite says when it could not write and nothing is in doubt: the transaction is rolled back.
# https://www.sqlite.org/rescode.html
_NOT_DONE: Final = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
}


@dataclass(slots=True)
class _Order(Generic[T]):
    work: Callable[[], T]
    then: Callable[[T], None]
    future: asyncio.Future[T]
    result: T | None = None
    error: BaseException | None = None


class Commits:
    """Runs orders on its own thread, many to a transaction, and answers when the transaction is on the disk.

    After a commit of which nobody knows whether it reached the disk, nothing is written any more: the page cache may
    claim what the disk does not hold, and only a new start reads the truth.
    """

    def __init__(self, db: sqlite3.Connection, log: Logger) -> None:
        self._db = db
        self._log = log
        self._orders: SimpleQueue[_Order[Any] | None] = SimpleQueue()
        self._closed = False
        self.trouble: str | None = None  # nothing is written any more, and why
        self.hindrance: str | None = None  # the last that had something to write could not, and why
        self._thread = threading.Thread(target=self._run, name="jobs-journal", daemon=True)
        self._thread.start()

    def ask(self, work: Callable[[], T], then: Callable[[T], None] = lambda _: None) -> asyncio.Future[T]:
        """Run `work` in a transaction; once that is on the disk, call `then` on the event loop and answer.

        `then` is called in the order of the writes, whether or not somebody still waits for the answer. What `work`
        raises undoes what it wrote, and nothing else.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed or self.trouble:
            future.set_exception(Unavailable())
        else:
            self._orders.put(_Order(work, then, future))
        return future

    def close(self) -> None:
        """Write what was asked, then end the thread."""
        if not self._closed:
            self._closed = True
            self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            found = [self._orders.get()]
            while len(found) < MOST_TOGETHER:
                try:
                    found.append(self._orders.get_nowait())
                except Empty:
                    break
            orders = [order for order in found if order is not None]
            ending = len(orders) < len(found)
            if orders:
                self._commit(orders)
                _deliver(orders)

    def _commit(self, orders: list[_Order[Any]]) -> None:
        db = self._db
        if self.trouble:
            _all_fail(orders, Unavailable)
            return
        committing, written = False, db.total_changes
        try:
            db.execute("BEGIN IMMEDIATE")
            for order in orders:
                self._one(order)
            committing = True
            db.execute("COMMIT")
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
            self._undo(orders, error, in_doubt=committing and code not in _NOT_DONE)
        else:
            if db.total_changes > written:  # a transaction that only looked shows nothing of a full disk
                self.hindrance = None

    def _one(self, order: _Order[Any]) -> None:
        db = self._db
        db.execute("SAVEPOINT one")
        try:
            order.result = order.work()
        except sqlite3.Error:
            raise
        except Exception as error:
            order.error = error
            db.execute("ROLLBACK TO one")
        db.execute("RELEASE one")

    def _undo(self, orders: list[_Order[Any]], error: sqlite3.Error, *, in_doubt: bool) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as second:
            in_doubt = True
            self._log.error("the journal cannot roll back", exception=second)
        if in_doubt:
            self.trouble = self.hindrance = str(error)
            self._log.error("the journal is in doubt: nothing is written until the next start", exception=error)
        elif self.hindrance is None:
            self.hindrance = str(error)
            self._log.error("the journal cannot be written now", exception=error)
        _all_fail(orders, Unknown if in_doubt else Unavailable)


def _all_fail(orders: list[_Order[Any]], error: Callable[[], BaseException]) -> None:
    for order in orders:
        order.error = error()


def _deliver(orders: list[_Order[Any]]) -> None:
    """Hand the answers to the event loop in one call; one that has ended has nobody left who waits."""
    loop = orders[0].future.get_loop()

    def answer() -> None:
        for order in orders:
            if order.error is None:
                order.then(order.result)
            if order.future.done():
                continue
            if order.error is not None:
                order.future.set_exception(order.error)
            else:
                order.future.set_result(order.result)

    try:
        loop.call_soon_threadsafe(answer)
    except RuntimeError:
        # The loop is closed: the process ends, and the next start reads all this from the file.
        return
