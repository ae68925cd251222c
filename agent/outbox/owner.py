"""One connection, owned by one thread; everybody else hands it closures and waits.

So no two threads ever meet inside SQLite, and SQLite's WAL never meets a second connection. An I/O error
while committing means *unknown*, not *no*: the connection is closed and opened anew, and whoever asked
must look whether the change is there.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from agent.catalogue import AgentError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

#: Set at each open and read back: none of these but page_size and auto_vacuum is kept in the file.
PRAGMAS: dict[str, tuple[str, object]] = {
    "page_size": ("16384", 16384),
    "auto_vacuum": ("INCREMENTAL", 2),
    "journal_mode": ("WAL", "wal"),
    "synchronous": ("FULL", 2),
    "secure_delete": ("FAST", 2),
    "journal_size_limit": (str(64 * 2**20), 64 * 2**20),
    "foreign_keys": ("ON", 1),
    "busy_timeout": ("5000", 5000),
}
#: Bounded checkpoints: 16 MB of WAL at 16 KiB pages.
AUTOCHECKPOINT_PAGES = 1000


class IoTrouble(AgentError):
    """The disk failed under a change: whether it took place is not known."""

    code = "E3103"


class DiskFull(AgentError):
    """There is no room for the change; nothing was changed."""

    code = "E3102"


class Owner:
    """The thread and its connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._work: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._handing_in = threading.Lock()
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="outbox", daemon=True)
        self._thread.start()
        ready.result()

    def run(self, work: Work[T]) -> T:
        """Run `work` with the connection, in the owner's thread, and return its result."""
        answer: Future[T] = Future()
        with self._handing_in:
            if self._closed:
                raise AgentError("E3105")
            self._work.put((work, answer))
        return answer.result()

    def close(self) -> None:
        """Finish what was handed in, close the connection and end the thread."""
        with self._handing_in:
            if not self._closed:
                self._closed = True
                self._work.put(None)
        self._thread.join()

    def _run(self, ready: Future[None]) -> None:
        try:
            connection: sqlite3.Connection | None = connect(self._path)
        except (sqlite3.Error, AgentError) as error:
            ready.set_exception(_told(error))
            return
        ready.set_result(None)
        while (item := self._work.get()) is not None:
            connection = self._serve(connection, *item)
        if connection is not None:
            connection.close()

    def _serve(
        self, connection: sqlite3.Connection | None, work: Work[Any], answer: Future[Any]
    ) -> sqlite3.Connection | None:
        """Do one piece of work. Return the connection for the next one, None when it must be opened anew."""
        try:
            connection = connection or connect(self._path)
            answer.set_result(work(connection))
        except sqlite3.Error as error:
            told = _told(error)
            answer.set_exception(told)
            if isinstance(told, IoTrouble) and connection is not None:
                # After a failed sync nothing that the connection believes can be trusted.
                connection.close()
                connection = None
        except BaseException as error:  # noqa: BLE001 -- it belongs to the thread that asked
            answer.set_exception(error)
        return connection


def connect(path: Path) -> sqlite3.Connection:
    """Open the file with every pragma set and read back. AgentError E3106 when one does not hold."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    for name, (wanted, expected) in PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {wanted}")
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found != expected:
            connection.close()
            raise AgentError("E3106", pragma=name, expected=expected, received=found)
    connection.execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """One immediate transaction. `durable`: synced at its end (FULL), else together with the next that is."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _told(error: Exception) -> Exception:
    """Return the error under its code; SQLite's text is kept as the reason, it never quotes values."""
    if not isinstance(error, sqlite3.Error):
        return error
    text = str(error)
    if "disk is full" in text:
        return DiskFull(reason=text)
    if "I/O" in text or "readonly" in text or "unable to open" in text:
        return IoTrouble(reason=text)
    if "malformed" in text or "not a database" in text:
        return AgentError("E3107", reason=text)
    return error
