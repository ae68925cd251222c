"""The balance: every accepted record is in exactly one state, counted in the transaction that moved it.

accepted = ready + sending + held + parked + delivered + quarantined + discarded
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timezone

STATES = ("ready", "sending", "held", "parked", "delivered", "quarantined", "discarded")


@dataclass(frozen=True)
class Balance:
    """The counters. `difference` must be 0: whatever else it is, records were lost or made up."""

    accepted: int
    ready: int
    sending: int
    held: int
    parked: int
    delivered: int
    quarantined: int
    discarded: int
    bytes: int
    difference: int
    oldest_waiting: datetime | None


def accept(connection: sqlite3.Connection, state: str, size: int) -> None:
    """Count a new record in its first state."""
    connection.execute("UPDATE ledger SET accepted = accepted + 1, bytes = bytes + ?", (size,))
    _add(connection, state, 1)


def move(connection: sqlite3.Connection, before: str, after: str) -> None:
    """Count a record out of one state and into another."""
    _add(connection, before, -1)
    _add(connection, after, 1)


def _add(connection: sqlite3.Connection, state: str, number: int) -> None:
    if state not in STATES:
        raise ValueError(state)
    connection.execute(f"UPDATE ledger SET {state} = {state} + ?", (number,))  # noqa: S608 -- a name of STATES


def freed(connection: sqlite3.Connection, size: int) -> None:
    """Count bytes that were deleted."""
    connection.execute("UPDATE ledger SET bytes = bytes - ?", (size,))


def balance(connection: sqlite3.Connection) -> Balance:
    """Return the counters, held against the records themselves."""
    row = connection.execute("SELECT * FROM ledger").fetchone()
    counted = dict(connection.execute("SELECT state, count(*) FROM record GROUP BY state").fetchall())
    by_state = {state: int(row[state]) for state in STATES}
    off = sum(abs(by_state[state] - counted.get(state, 0)) for state in STATES)
    off += abs(int(row["accepted"]) - sum(by_state.values()))
    oldest = connection.execute(
        "SELECT min(created_at) FROM record WHERE state IN ('ready', 'sending', 'held', 'parked')"
    ).fetchone()[0]
    return Balance(
        accepted=int(row["accepted"]),
        **by_state,
        bytes=int(row["bytes"]),
        difference=off,
        oldest_waiting=None if oldest is None else datetime.fromtimestamp(oldest / 1000, timezone.utc),
    )
