"""The counters of an outbox file, read by its owner and by whoever looks while nobody owns it.

accepted = ready + sending + held + parked + delivered + quarantined + discarded
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
