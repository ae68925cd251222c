"""Two clocks: personal data goes soon after a record is finished, its receipt after the audit's time.

Erasing deletes the record's wrapped key and its sealed rows; what backups of the file may still hold of
them cannot be opened any more. All of it in small transactions: the desk may be waiting for the connection.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

from agent.outbox import ledger
from agent.outbox.owner import transaction
from agent.outbox.rows import millis

#: Records erased in one transaction.
STEP = 50
#: Pages given back in one idle step: some tens of milliseconds.
VACUUM_PAGES = 500
#: Free pages that are left in the file for the next records.
SPARE_PAGES = 64

# A refused record that was corrected keeps its originals until the corrected one has been erased itself.
_ERASABLE = """
SELECT seq, size FROM record AS r
WHERE finished_at IS NOT NULL AND wrapped_key IS NOT NULL AND (finished_at < ? OR finished_at > ?)
AND (superseded_by IS NULL OR NOT EXISTS (
    SELECT 1 FROM record AS s WHERE s.id = r.superseded_by AND s.wrapped_key IS NOT NULL))
ORDER BY finished_at LIMIT ?
"""
_EXPIRED = """
SELECT seq, state FROM record
WHERE finished_at IS NOT NULL AND wrapped_key IS NULL AND finished_at < ? ORDER BY finished_at LIMIT ?
"""


def erase(connection: sqlite3.Connection, before: datetime, beyond: datetime) -> int:
    """Erase key and bodies of some records finished before then. Return how many; 0: none is left.

    `beyond`: what is said to be finished later than that was so by a clock that has since been put right.
    """
    with transaction(connection, durable=True):
        times = (millis(before), millis(beyond), STEP)
        found = connection.execute(_ERASABLE, times).fetchall()
        for row in found:
            connection.execute("DELETE FROM body WHERE record = ?", (row["seq"],))
            connection.execute("UPDATE record SET wrapped_key = NULL, size = 0 WHERE seq = ?", (row["seq"],))
            ledger.freed(connection, row["size"])
    return len(found)


def expire(connection: sqlite3.Connection, before: datetime) -> int:
    """Delete what is left of some erased records finished before then: receipt, attempts, meta row."""
    with transaction(connection, durable=True):
        found = connection.execute(_EXPIRED, (millis(before), STEP)).fetchall()
        for row in found:
            for table in ("attempt", "receipt"):
                connection.execute(f"DELETE FROM {table} WHERE record = ?", (row["seq"],))  # noqa: S608 -- two constants
            connection.execute("DELETE FROM record WHERE seq = ?", (row["seq"],))
            ledger.count_expired(connection, row["state"], 1, known=True)
        connection.execute("DELETE FROM followup WHERE closed_at < ?", (millis(before),))
        if found:
            connection.execute(
                "DELETE FROM conventions WHERE fingerprint NOT IN "
                "(SELECT conventions FROM attempt WHERE conventions IS NOT NULL)"
            )
    return len(found)


def give_back(connection: sqlite3.Connection) -> bool:
    """Give some free pages back to the disk. Return whether there are more."""
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0]) - SPARE_PAGES
    if free <= 0:
        return False
    # `execute` would free one page only: the statement gives a row a page.
    connection.executescript(
        f"PRAGMA synchronous = FULL; PRAGMA incremental_vacuum({min(free, VACUUM_PAGES)})"
    )
    return free > VACUUM_PAGES


def checkpoint(connection: sqlite3.Connection) -> None:
    """Move the write-ahead log into the database and empty it: an idle outbox is one file."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def shrink_memory(connection: sqlite3.Connection) -> None:
    """Empty the page cache, two megabytes when full."""
    connection.execute("PRAGMA shrink_memory").fetchall()


def move_log(connection: sqlite3.Connection) -> None:
    """Move the write-ahead log into the database; the file stays, the next commits overwrite it in place."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
