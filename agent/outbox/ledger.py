"""The balance: every accepted record is in exactly one state, counted in the transaction that moved it.

accepted = ready + sending + held + parked + delivered + quarantined + discarded

*Waiting* is what is neither delivered nor discarded. With discarded records nobody goes on here: they were
given up by a person, or superseded by a corrected record, or moved to another machine; the latter two are
counted beside. Delivered and discarded are counted for ever; how many of them have no row any more, because
their receipt's time is over, is counted beside them.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timezone

FINISHED = ("delivered", "discarded")
WAITING = ("ready", "sending", "held", "parked", "quarantined")
#: Discarded, but not given up.
GONE_ON = ("superseded", "moved")
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
    superseded: int  # of the discarded ones
    moved: int  # of the discarded ones
    bytes: int
    difference: int
    oldest_waiting: datetime | None
    last_success: datetime | None
    attempts: int  # of every record that still has a row

    @property
    def waiting(self) -> int:
        """Return how many records are kept and neither delivered nor discarded."""
        return sum(getattr(self, state) for state in WAITING)

    @property
    def given_up(self) -> int:
        """Return how many records a person gave up."""
        return self.discarded - self.superseded - self.moved


def accept(connection: sqlite3.Connection, state: str, size: int) -> None:
    """Count a new record in its first state."""
    connection.execute("UPDATE ledger SET accepted = accepted + 1, bytes = bytes + ?", (size,))
    _add(connection, state, 1)


def move(connection: sqlite3.Connection, before: str, after: str) -> None:
    """Count a record out of one state and into another."""
    _add(connection, before, -1)
    _add(connection, after, 1)


def close(connection: sqlite3.Connection, before: str, closed_as: str) -> None:
    """Count a record out of its state and among the discarded ones."""
    move(connection, before, "discarded")
    count_closed(connection, closed_as)


def count_closed(connection: sqlite3.Connection, closed_as: str | None) -> None:
    """Count why a record is among the discarded ones."""
    if closed_as in GONE_ON:
        _add(connection, closed_as, 1)


def count_gone_on(connection: sqlite3.Connection) -> None:
    """Count anew why records are discarded; what has expired is counted as it was."""
    for reason in GONE_ON:
        connection.execute(
            f"UPDATE ledger SET {reason} = min(discarded, max({reason}, "  # noqa: S608 -- names of GONE_ON
            "(SELECT count(*) FROM record WHERE state = 'discarded' AND closed_as = ?)))",
            (reason,),
        )


def _add(connection: sqlite3.Connection, state: str, number: int) -> None:
    if state not in (*STATES, *GONE_ON):
        raise ValueError(state)
    connection.execute(f"UPDATE ledger SET {state} = {state} + ?", (number,))  # noqa: S608 -- one of these names


def freed(connection: sqlite3.Connection, size: int) -> None:
    """Count bytes that were deleted."""
    connection.execute("UPDATE ledger SET bytes = bytes - ?", (size,))


def count_expired(connection: sqlite3.Connection, state: str, number: int, *, known: bool) -> None:
    """Count finished records whose last row goes; `known`: they stand in the counter of their state."""
    if state not in FINISHED:
        raise ValueError(state)
    connection.execute(f"UPDATE ledger SET expired_{state} = expired_{state} + ?", (number,))  # noqa: S608 -- a name of FINISHED
    if not known:
        connection.execute("UPDATE ledger SET accepted = accepted + ?", (number,))
        _add(connection, state, number)


def rebuild(connection: sqlite3.Connection) -> None:
    """Count anew from the records themselves, after a salvage; what had expired is counted as it was."""
    counted = dict(connection.execute("SELECT state, count(*) FROM record GROUP BY state").fetchall())
    expired = connection.execute("SELECT expired_delivered, expired_discarded FROM ledger").fetchone()
    for state in STATES:
        number = counted.get(state, 0) + (expired[f"expired_{state}"] if state in FINISHED else 0)
        connection.execute(f"UPDATE ledger SET {state} = ?", (number,))  # noqa: S608 -- a name of STATES
    connection.execute(
        f"UPDATE ledger SET accepted = {' + '.join(STATES)}, "  # noqa: S608 -- names of STATES
        "bytes = (SELECT coalesce(sum(size), 0) FROM record)"
    )
    count_gone_on(connection)


def expired(connection: sqlite3.Connection) -> int:
    """Return how many finished records have no row any more."""
    row = connection.execute("SELECT expired_delivered + expired_discarded AS number FROM ledger").fetchone()
    return int(row["number"])


def used(connection: sqlite3.Connection) -> int:
    """Return the bytes of every sealed row that is kept."""
    return int(connection.execute("SELECT bytes FROM ledger").fetchone()["bytes"])


def balance(connection: sqlite3.Connection, sending: str | None = None) -> Balance:
    """Return the counters, held against the records themselves. `sending`: the record claimed last."""
    row = connection.execute("SELECT * FROM ledger").fetchone()
    counted = dict(connection.execute("SELECT state, count(*) FROM record GROUP BY state").fetchall())
    for state in FINISHED:
        counted[state] = counted.get(state, 0) + row[f"expired_{state}"]
    by_state = {state: int(row[state]) for state in STATES}
    off = sum(abs(by_state[state] - counted.get(state, 0)) for state in STATES)
    off += abs(int(row["accepted"]) - sum(by_state.values()))
    # Records come in the order of their numbers, so the lowest number waits longest. What is being sent has
    # no index: it is asked for by its id.
    oldest = connection.execute(
        "SELECT created_at FROM record WHERE seq = (SELECT min(seq) FROM ("
        "SELECT min(seq) AS seq FROM record WHERE state = 'ready' UNION ALL "
        "SELECT min(seq) FROM record WHERE state IN ('held', 'parked', 'quarantined') UNION ALL "
        "SELECT seq FROM record WHERE id = ? AND state = 'sending'))",
        (sending,),
    ).fetchone()
    last = connection.execute("SELECT max(at) FROM receipt").fetchone()[0]
    return Balance(
        accepted=int(row["accepted"]),
        **by_state,
        **{reason: int(row[reason]) for reason in GONE_ON},
        bytes=int(row["bytes"]),
        difference=off,
        oldest_waiting=None if oldest is None else _moment(oldest["created_at"]),
        last_success=None if last is None else _moment(last),
        attempts=int(connection.execute("SELECT coalesce(sum(attempts), 0) FROM record").fetchone()[0]),
    )


def _moment(stored: int) -> datetime:
    return datetime.fromtimestamp(stored / 1000, timezone.utc)
