"""Follow-ups beside the records: one row each, whom it is about sealed under a key of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from agent.catalogue import AgentError
from agent.clock import Clock
from agent.outbox import sealing
from agent.outbox.owner import Owner, transaction
from agent.outbox.rows import millis, moment
from agent.outbox.vault import Vault, label
from agent.records import FaceResult, Verification

KIND = "followup"
#: A site that has switched comparing off would find everybody on the list.
ENGINE_NONE = "engine_none"
#: Open ones that are listed at once.
MAX_ROWS = 1000


@dataclass(frozen=True)
class Person:
    """Whom a follow-up is about."""

    name: str = field(repr=False)
    number: str = field(repr=False)


@dataclass(frozen=True)
class FollowUp:
    """One case as lists show it. `id` is the record's, or the attempt's that became none."""

    id: str
    opened_at: datetime
    reason: str  # failed | not_verified | refused | cannot_be_photographed | no_picture


@dataclass(frozen=True)
class Sealed:
    """A row that is ready to be written."""

    id: str
    opened_at: int
    reason: str
    wrapped_key: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


def sealed(vault: Vault, case: str, reason: str, person: Person, opened_at: datetime) -> Sealed:
    """Return the row of a case, sealed under a fresh key."""
    key, wrapped = vault.new_record_key(case)
    text = json.dumps(asdict(person), ensure_ascii=False).encode()
    return Sealed(case, millis(opened_at), reason, wrapped, sealing.seal(key, text, label(case, KIND)))


def of_verification(vault: Vault, verification: Verification, now: datetime) -> Sealed | None:
    """Return the row that a verification needs, None for one that passed or where a site compares nothing."""
    result = verification.face.result
    if result is FaceResult.PASSED or verification.face.reason == ENGINE_NONE:
        return None
    person = Person(verification.name, verification.number)
    return sealed(vault, verification.id, result.name.lower(), person, now)


def insert_within(connection: sqlite3.Connection, row: Sealed) -> bool:
    """Write a row within the caller's transaction; one that is there, open or closed, stays: then False.

    Only what was handed over opens again: it came back.
    """
    done = connection.execute(
        "INSERT INTO followup (id, opened_at, reason, wrapped_key, sealed) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET opened_at = excluded.opened_at, reason = excluded.reason, "
        "wrapped_key = excluded.wrapped_key, sealed = excluded.sealed, "
        "closed_at = NULL, closed_by = NULL, closed_how = NULL WHERE closed_how = 'moved'",
        (row.id, row.opened_at, row.reason, row.wrapped_key, row.sealed),
    )
    return done.rowcount > 0


def open_of(connection: sqlite3.Connection, vault: Vault, case: str) -> dict[str, Any] | None:
    """Return an open case in plain, for an export that is sealed at once; None where there is none."""
    try:
        return plain(vault, _find(connection, case))
    except AgentError:
        return None


def plain(vault: Vault, row: sqlite3.Row) -> dict[str, Any]:
    """Return an open case in plain. AgentError with its fault when it cannot be read."""
    return {"opened_at": row["opened_at"], "reason": row["reason"], **asdict(_person(vault, row))}


def open_row(connection: sqlite3.Connection, case: str) -> sqlite3.Row | None:
    """Return the row of an open case, None where none is open under that id."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM followup WHERE id = ? AND closed_at IS NULL", (case,)
    ).fetchone()
    return row


def without_record(connection: sqlite3.Connection) -> list[str]:
    """Return the open cases that never had a record, or whose record's last row has gone; oldest first."""
    found = connection.execute(
        "SELECT id FROM followup WHERE closed_at IS NULL AND id NOT IN (SELECT id FROM record) ORDER BY seq"
    )
    return [row["id"] for row in found]


def of_import(vault: Vault, case: str, given: Mapping[str, Any]) -> Sealed:
    """Return the row of a case that came from another machine."""
    person = Person(given["name"], given["number"])
    return sealed(vault, case, given["reason"], person, moment(given["opened_at"]))


def _person(vault: Vault, row: sqlite3.Row) -> Person:
    text = sealing.unseal(vault.record_key(row), row["sealed"], label(row["id"], KIND))
    return Person(**json.loads(text))


class FollowUpRows:
    """The follow-ups of an open outbox."""

    def __init__(self, owner: Owner, vault: Vault, clock: Clock) -> None:
        self._owner = owner
        self._vault = vault
        self._clock = clock

    def add(self, case: str, reason: str, person: Person) -> None:
        """Keep a case that has no record; durable when this returns."""
        row = sealed(self._vault, case, reason, person, self._clock.now())
        self._owner.run(partial(_insert, row=row))

    def reopen(self, case: str, reason: str, person: Person) -> None:
        """Open a case under a graver reason, whether it is open, closed or not there yet; durable."""
        row = sealed(self._vault, case, reason, person, self._clock.now())
        self._owner.run(partial(_reopen, row=row))

    def listed(self, limit: int = MAX_ROWS) -> list[FollowUp]:
        """Return what is open, oldest first."""
        return self._owner.run(partial(_open, limit=limit))

    def count(self) -> int:
        """Return how many are open."""
        return self._owner.run(
            lambda c: int(c.execute("SELECT count(*) FROM followup WHERE closed_at IS NULL").fetchone()[0])
        )

    def person(self, case: str) -> Person:
        """Return whom an open case is about. AgentError E3130 when there is no such case."""
        return self._owner.run(lambda c: _person(self._vault, _find(c, case)))

    def close(self, case: str, who: str, how: str) -> None:
        """Close a case, and forget whom it was about. AgentError E3130 when there is no such open case."""
        self._owner.run(partial(_close, case=case, who=who, how=how, now=self._clock.now()))


def _insert(connection: sqlite3.Connection, row: Sealed) -> None:
    with transaction(connection, durable=True):
        connection.execute("DELETE FROM opened WHERE id = ?", (row.id,))
        insert_within(connection, row)


def _reopen(connection: sqlite3.Connection, row: Sealed) -> None:
    with transaction(connection, durable=True):
        insert_within(connection, row)
        connection.execute(
            "UPDATE followup SET reason = ?, opened_at = ?, wrapped_key = ?, sealed = ?, "
            "closed_at = NULL, closed_by = NULL, closed_how = NULL WHERE id = ?",
            (row.reason, row.opened_at, row.wrapped_key, row.sealed, row.id),
        )


def _open(connection: sqlite3.Connection, limit: int) -> list[FollowUp]:
    rows = connection.execute(
        "SELECT id, opened_at, reason FROM followup WHERE closed_at IS NULL ORDER BY seq LIMIT ?", (limit,)
    )
    return [FollowUp(row["id"], moment(row["opened_at"]), row["reason"]) for row in rows]


def _find(connection: sqlite3.Connection, case: str) -> sqlite3.Row:
    row = open_row(connection, case)
    if row is None:
        raise AgentError("E3130", case=case)
    return row


def _close(connection: sqlite3.Connection, case: str, who: str, how: str, now: datetime) -> None:
    with transaction(connection, durable=True):
        row = _find(connection, case)
        connection.execute(
            "UPDATE followup SET wrapped_key = NULL, sealed = NULL, "
            "closed_at = ?, closed_by = ?, closed_how = ? WHERE seq = ?",
            (millis(now), who, how, row["seq"]),
        )
