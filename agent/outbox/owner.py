"""One connection, owned by one thread; everybody else hands it closures and waits.

So no two threads ever meet inside SQLite, and SQLite's WAL never meets a second connection. An I/O error
while committing means *unknown*, not *no*: the connection is closed and opened anew, and whoever asked
must look whether the change is there.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from agent.catalogue import AgentError
from agent.outbox.space import NOTHING_LEFT, free_bytes

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

PAGE_BYTES = 16384
#: Set at each open and read back: none of these but page_size and auto_vacuum is kept in the file.
PRAGMAS: dict[str, tuple[str, object]] = {
    "page_size": (str(PAGE_BYTES), PAGE_BYTES),
    "auto_vacuum": ("INCREMENTAL", 2),
    "journal_mode": ("WAL", "wal"),
    "synchronous": ("FULL", 2),
    "secure_delete": ("FAST", 2),
    "journal_size_limit": (str(64 * 2**20), 64 * 2**20),
    "foreign_keys": ("ON", 1),
    "busy_timeout": ("5000", 5000),
}
#: The fence, should nobody have moved the log before: 16 MiB of it.
AUTOCHECKPOINT_PAGES = 16 * 2**20 // PAGE_BYTES


class IoTrouble(AgentError):
    """The disk failed under a change: whether it took place is not known."""

    code = "E3103"


class DiskFull(AgentError):
    """There is no room for the change; nothing was changed."""

    code = "E3102"


class Owner:
    """The thread and its connection."""

    def __init__(self, path: Path, relief: Callable[[], bool] = lambda: False) -> None:
        self._path = path
        self._relief = relief
        self._damaged = threading.Event()
        self._work: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._handing_in = threading.Lock()
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="outbox", daemon=True)
        self._thread.start()
        ready.result()

    @property
    def damaged(self) -> bool:
        """Return whether SQLite met a damaged page; the next start salvages."""
        return self._damaged.is_set()

    def damage_found(self) -> None:
        """Have the file salvaged at the next start."""
        self._damaged.set()
        mark_damaged(self._path)

    def run(self, work: Work[T]) -> T:
        """Run `work` with the connection, in the owner's thread, and return its result.

        On a full disk the ballast is given up, and `work` - which changed nothing - done once more.
        """
        try:
            return self.run_if_room(work)
        except DiskFull:
            if not self._relief():
                raise
        return self.run_if_room(work)

    def run_if_room(self, work: Work[T]) -> T:
        """Run `work` as `run` does, but let a full disk refuse it: for what may be refused."""
        return self.hand_in(work).result()

    def hand_in(self, work: Work[T]) -> Future[T]:
        """Hand `work` in without waiting for it."""
        answer: Future[T] = Future()
        with self._handing_in:
            if self._closed:
                raise AgentError("E3105")
            self._work.put((work, answer))
        return answer

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
        except Exception as error:  # noqa: BLE001 -- it belongs to the thread that waits for us
            ready.set_exception(self._told(error))
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
        except (sqlite3.Error, UnicodeDecodeError) as error:
            told = self._told(error)
            if isinstance(told, IoTrouble) and connection is not None:
                # After a failed sync nothing that the connection believes can be trusted.
                connection.close()
                connection = None
            answer.set_exception(told)
        except BaseException as error:  # noqa: BLE001 -- it belongs to the thread that asked
            answer.set_exception(error)
        return connection

    def _told(self, error: Exception) -> Exception:
        """Return the error under its code; SQLite's text is kept as the reason, it never quotes values."""
        if not isinstance(error, (sqlite3.Error, UnicodeDecodeError)):
            return error
        text = str(error)
        # A rotten byte in a text: in the schema even the message is undecodable, in a row it quotes the text.
        if isinstance(error, UnicodeDecodeError) or text.startswith("Could not decode"):
            text = "malformed text"
        if "malformed" in text or "not a database" in text:
            self.damage_found()
            return AgentError("E3107", reason=text)
        # A full disk shows as an I/O error where SQLite could not grow its shared memory.
        if "disk is full" in text or ("I/O" in text and free_bytes(self._path.parent) < NOTHING_LEFT):
            return DiskFull(reason=text)
        if "I/O" in text or "readonly" in text or "unable to open" in text:
            return IoTrouble(reason=text)
        return error


def damage_mark(path: Path) -> Path:
    """Return the file whose presence says that a database is to be salvaged."""
    return path.with_suffix(".damaged")


def mark_damaged(path: Path) -> None:
    """Leave the mark; where even that fails the next quick check finds the damage."""
    with contextlib.suppress(OSError):
        damage_mark(path).touch(mode=0o600)


def connect(path: Path) -> sqlite3.Connection:
    """Open the file with every pragma set and read back. AgentError E3106 when one does not hold."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        for name, (wanted, expected) in PRAGMAS.items():
            found = _pragma(connection, name)
            if found != expected:
                # Asked first: setting auto_vacuum writes the file, even to what it was.
                connection.execute(f"PRAGMA {name} = {wanted}")
                found = _pragma(connection, name)
            if found != expected:
                raise AgentError("E3106", pragma=name, expected=expected, received=found)
        connection.execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


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
