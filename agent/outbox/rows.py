"""What the outbox shows of itself: rows without personal data."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from agent.catalogue import AgentError
from agent.records import Hold

#: Reasons that this version can judge.
KNOWN_HOLDS = frozenset(hold.value for hold in Hold)


@dataclass(frozen=True)
class RecordRow:
    """One record as lists show it."""

    id: str
    state: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    unknown: bool
    last_code: str | None
    last_detail: str | None
    holds: Mapping[str, str]
    size: int
    finished_at: datetime | None
    supersedes: str | None
    superseded_by: str | None
    exported_at: datetime | None
    closed_by: str | None
    closed_why: str | None
    closed_as: str | None  # given_up | superseded | moved


@dataclass(frozen=True)
class Found:
    """One record of a person somebody asked for: was it delivered, when, and what did the platform say."""

    id: str
    state: str
    verified_at: datetime
    delivered_at: datetime | None
    request_id: str | None
    code: int | None
    exception_code: str | None


@dataclass(frozen=True)
class AttemptRow:
    """One send."""

    number: int
    at: datetime
    request_id: str | None
    conventions: str | None
    sm3: str | None
    length: int | None
    outcome: str | None
    code: str | None


@dataclass(frozen=True)
class ReceiptRow:
    """One proof of delivery."""

    id: str
    request_id: str
    sm3: str
    return_time: int | None
    code: int
    exception_code: str | None
    message: str
    signed: bool
    at: datetime


@dataclass(frozen=True)
class HeldRecord:
    """A record that waits to be completed."""

    id: str
    holds: Mapping[Hold, str]


def millis(moment: datetime) -> int:
    """Return a time as it is stored."""
    return int(moment.timestamp() * 1000)


def moment(stored: int) -> datetime:
    """Return a stored time."""
    return datetime.fromtimestamp(stored / 1000, timezone.utc)


def holds_json(holds: Mapping[Hold, str]) -> str:
    """Return holds as they are stored."""
    return json.dumps({hold.value: missing for hold, missing in holds.items()}, ensure_ascii=False)


def holds_of(row: sqlite3.Row) -> dict[str, str]:
    """Return holds as they were stored. DatabaseError, which its owner takes for damage, for rotten ones."""
    try:
        return dict(json.loads(row["holds"]))
    except (ValueError, TypeError):
        raise sqlite3.DatabaseError("malformed text") from None


def find(connection: sqlite3.Connection, record: str) -> sqlite3.Row:
    """Return a record's meta row. AgentError E3110 when there is none of that id."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM record WHERE id = ?", (record,)).fetchone()
    if row is None:
        raise AgentError("E3110", record=record)
    return row


def record_row(row: sqlite3.Row) -> RecordRow:
    """Return a meta row as lists show it."""
    return RecordRow(
        id=row["id"],
        state=row["state"],
        attempts=row["attempts"],
        created_at=moment(row["created_at"]),
        # What is sent, or finished, has no next time: the column still holds the last one's.
        next_attempt_at=_moment_or_none(row["next_attempt_at"] or None) if row["state"] == "ready" else None,
        unknown=bool(row["unknown"]),
        last_code=row["last_code"],
        last_detail=row["last_detail"],
        holds=holds_of(row),
        size=row["size"],
        finished_at=_moment_or_none(row["finished_at"]),
        supersedes=row["supersedes"],
        superseded_by=row["superseded_by"],
        exported_at=_moment_or_none(row["exported_at"]),
        closed_by=row["closed_by"],
        closed_why=row["closed_why"],
        closed_as=row["closed_as"],
    )


def _moment_or_none(stored: int | None) -> datetime | None:
    return None if stored is None else moment(stored)


def list_records(connection: sqlite3.Connection, state: str | None, limit: int) -> list[RecordRow]:
    """Return the newest records: all, those of one state, or those discarded in one way."""
    rows = connection.execute(
        "SELECT * FROM record WHERE :state IS NULL OR state = :state OR closed_as = :state "
        "ORDER BY seq DESC LIMIT :limit",
        {"state": state, "limit": limit},
    )
    return [record_row(row) for row in rows]


def set_aside(connection: sqlite3.Connection, code: str, after: int, limit: int) -> list[tuple[int, str]]:
    """Return number and id of what was parked or quarantined with this code, oldest first, behind `after`."""
    rows = connection.execute(
        "SELECT seq, id FROM record WHERE state IN ('parked', 'quarantined') AND seq > ? AND last_code = ? "
        "ORDER BY seq LIMIT ?",
        (after, code, limit),
    )
    return [(row["seq"], row["id"]) for row in rows]


def newest(connection: sqlite3.Connection) -> tuple[str, datetime] | None:
    """Return person and time of the record made last; None without any."""
    row = connection.execute("SELECT person, created_at FROM record ORDER BY seq DESC LIMIT 1").fetchone()
    return None if row is None else (row["person"], moment(row["created_at"]))


def held(connection: sqlite3.Connection) -> list[HeldRecord]:
    """Return every held record, oldest first.

    One that a later version held for a reason of its own stays out: nobody here can tell when it may go.
    """
    rows = connection.execute("SELECT id, holds FROM record WHERE state = 'held' ORDER BY seq").fetchall()
    kept = [(row["id"], holds_of(row)) for row in rows]
    return [
        HeldRecord(record, {Hold(name): missing for name, missing in holds.items()})
        for record, holds in kept
        if holds.keys() <= KNOWN_HOLDS
    ]


def attempts(connection: sqlite3.Connection, record: str) -> list[AttemptRow]:
    """Return every attempt to send a record, oldest first."""
    rows = connection.execute(
        "SELECT * FROM attempt WHERE record = ? ORDER BY number", (find(connection, record)["seq"],)
    )
    return [
        AttemptRow(
            number=row["number"],
            at=moment(row["at"]),
            request_id=row["request_id"],
            conventions=row["conventions"],
            sm3=row["sm3"],
            length=row["length"],
            outcome=row["outcome"],
            code=row["code"],
        )
        for row in rows
    ]


def receipts(connection: sqlite3.Connection, limit: int) -> list[ReceiptRow]:
    """Return the newest receipts."""
    rows = connection.execute(
        "SELECT receipt.*, record.id FROM receipt JOIN record ON record.seq = receipt.record "
        "ORDER BY receipt.at DESC LIMIT ?",
        (limit,),
    )
    return [
        ReceiptRow(
            id=row["id"],
            request_id=row["request_id"],
            sm3=row["sm3"],
            return_time=row["return_time"],
            code=row["code"],
            exception_code=row["exception_code"],
            message=row["message"],
            signed=bool(row["signed"]),
            at=moment(row["at"]),
        )
        for row in rows
    ]


def find_person(connection: sqlite3.Connection, person: str) -> list[Found]:
    """Return every record of one keyed pseudonym, oldest verification first."""
    rows = connection.execute(
        "SELECT record.id, record.state, record.verified_at, receipt.at, receipt.request_id, receipt.code, "
        "receipt.exception_code FROM record LEFT JOIN receipt ON receipt.record = record.seq "
        "WHERE record.person = ? ORDER BY record.verified_at, record.seq",
        (person,),
    )
    return [
        Found(
            id=row["id"],
            state=row["state"],
            verified_at=moment(row["verified_at"]),
            delivered_at=_moment_or_none(row["at"]),
            request_id=row["request_id"],
            code=row["code"],
            exception_code=row["exception_code"],
        )
        for row in rows
    ]
