"""The balance: every accepted record is in exactly one state, counted in the transaction that moved it.

accepted = ready + sending + held + parked + delivered + quarantined + discarded

*Waiting* is what is neither delivered nor discarded. With discarded records nobody goes on here: they were
given up by a person, or superseded by a corrected record, or moved to another machine; the latter two are
counted beside. Delivered and discarded are counted for ever; how many of them have no row any more, because
their receipt's time is over, is counted beside them.
"""

from __future__ import annotations

import sqlite3

from agent.balance import FINISHED, GONE_ON, STATES


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
