"""The balance: every accepted record is in exactly one state, counted in the transaction that moved it.

accepted = ready + sending + held + parked + delivered + quarantined + discarded

*Waiting* is what is neither delivered nor discarded. With discarded records nobody goes on here: they were
given up by a person, or superseded by a corrected record, or moved to another machine; the latter two are
counted beside. Delivered and discarded are counted for ever; how many of them have no row any more, because
their receipt's time is over, is counted beside them.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping

from agent.balance import FINISHED, GONE_ON, STATES

_BY_STATE = "SELECT state, closed_as, count(*), coalesce(sum(size), 0) FROM record GROUP BY state, closed_as"


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
    _write(connection, _right(connection, _told(connection), states_known=False))


def recount(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Put right each counter that says otherwise than the records. Return what it said and what is right.

    A rotten bit in this row no page check finds. While the states still add up to what was accepted they are
    believed, also of how many records have expired; else that number is.
    """
    told = _told(connection)
    right = _right(connection, told, states_known=told["accepted"] == sum(told[state] for state in STATES))
    _write(connection, right)
    return {name: (told[name], right[name]) for name in right if told[name] != right[name]}


def _told(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT * FROM ledger").fetchone())


def _right(connection: sqlite3.Connection, told: Mapping[str, int], *, states_known: bool) -> dict[str, int]:
    """Return every counter as the records have it."""
    states: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    size = 0
    for state, reason, number, its_size in connection.execute(_BY_STATE):
        states[state] += number
        reasons[reason] += number
        size += its_size
    right = {"bytes": size}
    for state in FINISHED:
        gone = told[state] - states[state] if states_known else told[f"expired_{state}"]
        right[f"expired_{state}"] = max(gone, 0)
        states[state] += max(gone, 0)
    right |= {state: states[state] for state in STATES}
    for name in GONE_ON:
        # Of those without a row nobody else knows why they were discarded: believed as far as it can be so.
        possible = range(reasons[name], reasons[name] + right["expired_discarded"] + 1)
        right[name] = told[name] if told[name] in possible else reasons[name]
    return right | {"accepted": states.total()}


def _write(connection: sqlite3.Connection, counters: Mapping[str, int]) -> None:
    told = _told(connection)
    for name, number in counters.items():
        if told[name] != number:
            connection.execute(f"UPDATE ledger SET {name} = ?", (number,))  # noqa: S608 -- a column's name


def expired(connection: sqlite3.Connection) -> int:
    """Return how many finished records have no row any more."""
    row = connection.execute("SELECT expired_delivered + expired_discarded AS number FROM ledger").fetchone()
    return int(row["number"])


def used(connection: sqlite3.Connection) -> int:
    """Return the bytes of every sealed row that is kept."""
    return int(connection.execute("SELECT bytes FROM ledger").fetchone()["bytes"])
