"""Reading what waits, slowly, so that a rotten bit is found in the weeks of an outage and not after them.

SQLite's own checks do not see rot inside a body; the authentication tag of each sealed row does.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from agent.catalogue import AgentError
from agent.outbox import admin
from agent.outbox.rows import holds_of
from agent.outbox.vault import Vault

#: Small tables: checked before readiness. `body` may hold 20 GiB and is read record by record.
SMALL_TABLES = (
    "record",
    "attempt",
    "receipt",
    "conventions",
    "opened",
    "ledger",
    "epoch",
    "epoch_key",
    "setting",
    "followup",
)


@dataclass(frozen=True)
class Checked:
    """One record that was read: its number and id, its bytes, and the fault's code if there is one."""

    seq: int
    record: str
    size: int
    code: str | None


def quick_check(connection: sqlite3.Connection) -> str | None:
    """Check the small tables and their indexes. Return what is wrong, None when nothing is."""
    return _first_fault(connection, "quick_check")


def full_check(connection: sqlite3.Connection) -> str | None:
    """Hold the small tables against their indexes and read every text in them: too long for a start."""
    return _first_fault(connection, "integrity_check") or _unreadable(connection)


def _first_fault(connection: sqlite3.Connection, pragma: str) -> str | None:
    for table in SMALL_TABLES:
        try:
            found = connection.execute(f"PRAGMA {pragma}({table})").fetchone()[0]
        except sqlite3.DatabaseError as error:
            return f"{table}: {error}"
        if found != "ok":
            # One line is enough, and it names pages, never values.
            return f"{table}: {str(found).splitlines()[0]}"
    return None


def _unreadable(connection: sqlite3.Connection) -> str | None:
    """Read what SQLite takes for good because it only looks at pages and trees."""
    for table in SMALL_TABLES:
        try:
            for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 -- names of our tables
                if table == "record":
                    holds_of(row)
        except sqlite3.DatabaseError:
            return f"{table}: malformed text"  # SQLite's own words would quote it
    return None


def next_record(connection: sqlite3.Connection, vault: Vault, after: int) -> Checked | None:
    """Read every sealed row of the next record above `after` that has any. None behind the last one."""
    row = connection.execute(
        "SELECT * FROM record WHERE seq > ? AND wrapped_key IS NOT NULL AND state IN "
        "('ready', 'held', 'parked') ORDER BY seq LIMIT 1",
        (after,),
    ).fetchone()
    if row is None:
        return None
    try:
        admin.read_all(connection, vault, row)
    except AgentError as error:
        return Checked(row["seq"], row["id"], row["size"], error.code)
    except sqlite3.DatabaseError:
        return Checked(row["seq"], row["id"], row["size"], "E3107")
    return Checked(row["seq"], row["id"], row["size"], None)
