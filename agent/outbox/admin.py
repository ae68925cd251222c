"""What is done to records that nobody is sending: complete, retry, set aside, correct, give up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.catalogue import AgentError
from agent.outbox import ledger, sealing
from agent.outbox.owner import transaction
from agent.outbox.rows import find, holds_json, millis
from agent.outbox.vault import Vault, label, picture_kind
from agent.records import VERIFIED_AT, FaceResult, Hold, PictureKind, Supplement


def in_state(connection: sqlite3.Connection, record: str, *allowed: str) -> sqlite3.Row:
    """Return a record's meta row. AgentError E3115 while it is being sent, E3114 in a state not allowed."""
    row = find(connection, record)
    if row["state"] == "sending" and "sending" not in allowed:
        raise AgentError("E3115", record=record)
    if row["state"] not in allowed:
        raise AgentError("E3114", record=record, state=row["state"], allowed="/".join(allowed))
    return row


def supplement(connection: sqlite3.Connection, vault: Vault, record: str, supplement: Supplement) -> None:
    """Append a supplement."""
    with transaction(connection, durable=True):
        row = in_state(connection, record, "held", "parked")
        number = sum(kind.startswith("supplement:") for kind in vault.kinds(connection, row)) + 1
        kind, sealed = vault.seal_supplement(row, number, supplement)
        vault.add(connection, row, kind, sealed)
        _grown(connection, row, len(sealed))
        if supplement.name == VERIFIED_AT:
            # What was put right orders and names the record; the first time stays in the facts.
            moment = vault.verification(connection, row).verified_at
            connection.execute(
                "UPDATE record SET verified_at = ? WHERE seq = ?", (millis(moment), row["seq"])
            )


def add_picture(
    connection: sqlite3.Connection, vault: Vault, record: str, kind: PictureKind, picture: bytes
) -> None:
    """Append a picture the record lacks; one that it has is never replaced."""
    with transaction(connection, durable=True):
        row = in_state(connection, record, "held", "parked")
        name = picture_kind(kind)
        if name in vault.kinds(connection, row):
            raise AgentError("E3109", record=record)
        sealed = sealing.seal(vault.record_key(row), picture, label(record, name))
        vault.add(connection, row, name, sealed)
        _grown(connection, row, len(sealed))


def _grown(connection: sqlite3.Connection, row: sqlite3.Row, size: int) -> None:
    connection.execute("UPDATE record SET size = size + ? WHERE seq = ?", (size, row["seq"]))
    ledger.freed(connection, -size)


def rehold(connection: sqlite3.Connection, record: str, holds: Mapping[Hold, str]) -> None:
    """Replace what a held record lacks; with nothing left it is ready."""
    with transaction(connection, durable=True):
        row = in_state(connection, record, "held")
        state = "held" if holds else "ready"
        connection.execute(
            "UPDATE record SET state = ?, holds = ?, next_attempt_at = 0 WHERE seq = ?",
            (state, holds_json(holds), row["seq"]),
        )
        ledger.move(connection, "held", state)


def retry(connection: sqlite3.Connection, vault: Vault, record: str) -> str:
    """Make a parked record ready, a backed-off one due, a quarantined one what it was. Return its state.

    AgentError with the record's own fault when a quarantined one still cannot be read.
    """
    with transaction(connection, durable=True):
        row = in_state(connection, record, "parked", "ready", "quarantined")
        if row["state"] == "quarantined":
            read_all(connection, vault, row)
            return _restore(connection, row)
        connection.execute(
            "UPDATE record SET state = 'ready', next_attempt_at = 0 WHERE seq = ?", (row["seq"],)
        )
        ledger.move(connection, row["state"], "ready")
    return "ready"


def read_all(connection: sqlite3.Connection, vault: Vault, row: sqlite3.Row) -> None:
    """Open every sealed row of a record. AgentError with the first fault."""
    vault.whole(connection, row)
    for kind in vault.kinds(connection, row):
        vault.open(connection, row, kind)


def quarantine(connection: sqlite3.Connection, record: str, code: str) -> None:
    """Set an unreadable record aside. DatabaseError, which its owner takes for damage, for a rotten id."""
    with transaction(connection, durable=True):
        try:
            row = in_state(connection, record, "sending", "ready", "held", "parked")
        except AgentError as error:
            if error.code == "E3110":  # it was read a moment ago: table and index disagree
                raise sqlite3.DatabaseError("malformed index") from None
            raise
        connection.execute(
            "UPDATE record SET state = 'quarantined', epoch = NULL, token = NULL, last_code = ?, "
            "set_aside_from = ? WHERE seq = ?",
            (code, "ready" if row["state"] == "sending" else row["state"], row["seq"]),
        )
        ledger.move(connection, row["state"], "quarantined")


def _restore(connection: sqlite3.Connection, row: sqlite3.Row) -> str:
    state = row["set_aside_from"] or ("held" if row["holds"] != "{}" else "ready")
    connection.execute(
        "UPDATE record SET state = ?, next_attempt_at = 0, set_aside_from = NULL, last_code = NULL "
        "WHERE seq = ?",
        (state, row["seq"]),
    )
    ledger.move(connection, "quarantined", state)
    return str(state)


def restore_with_key(connection: sqlite3.Connection, vault: Vault) -> int:
    """Put back what was set aside because its epoch key was lost, now that the key is there again."""
    with transaction(connection, durable=True):
        rows = connection.execute(
            "SELECT * FROM record WHERE state = 'quarantined' AND last_code = 'E7303'"
        ).fetchall()
        back = [row for row in rows if vault.readable(row["wrapped_key"])]
        for row in back:
            _restore(connection, row)
    return len(back)


def note_missing(
    connection: sqlite3.Connection, records: Sequence[str], delivered: int, closed: int, now: datetime
) -> None:
    """Count records that are known to have been accepted and are not there any more.

    `records` were not finished: each gets a quarantined row, so that somebody asks for it by its id.
    Those `delivered` and `closed` were: they only keep the balance.
    """
    with transaction(connection, durable=True):
        for record in records:
            connection.execute(
                "INSERT INTO record (id, state, person, verified_at, created_at, size, content, "
                "last_code) VALUES (?, 'quarantined', '', ?, ?, 0, '', 'E3304')",
                (record, millis(now), millis(now)),
            )
            ledger.accept(connection, "quarantined", 0)
        ledger.count_expired(connection, "delivered", delivered, known=False)
        ledger.count_expired(connection, "discarded", closed, known=False)


@dataclass(frozen=True)
class Closing:
    """That somebody said nobody here goes on with a record, as the audit trail tells it."""

    record: str
    closed_as: str
    who: str
    why: str  # in that person's words; the successor's id


def close_again(connection: sqlite3.Connection, closings: Sequence[Closing], now: datetime) -> list[str]:
    """Close those records that go on although somebody closed them. Return their ids.

    A meta row that was lost is made anew as it began; an old copy knows nothing of what came later.
    A record whose successor is lost goes on: nobody else does.
    """
    again = []
    with transaction(connection, durable=True):
        for one in closings:
            row = connection.execute(
                "SELECT * FROM record WHERE id = ? AND state IN ('ready', 'held', 'parked', 'quarantined') "
                "AND NOT EXISTS (SELECT 1 FROM record WHERE id = ? AND state = 'quarantined')",
                (one.record, one.why),
            ).fetchone()
            if row is None:
                continue
            if one.closed_as == "superseded":
                connection.execute("UPDATE record SET superseded_by = ? WHERE seq = ?", (one.why, row["seq"]))
            _close(connection, row, one.closed_as, one.who, one.why, now)
            again.append(one.record)
    return again


# --- by a named person ------------------------------------------------------------------------------


def amend(
    connection: sqlite3.Connection, record: str, insert: Callable[[sqlite3.Row], str], who: str, now: datetime
) -> str:
    """Let a new record take the place of a refused one; both stay in the balance. Return the new id.

    `insert` makes the new record within this transaction and returns its id.
    """
    with transaction(connection, durable=True):
        row = amendable(connection, record)
        successor = insert(row)
        connection.execute("UPDATE record SET superseded_by = ? WHERE seq = ?", (successor, row["seq"]))
        _close(connection, row, "superseded", who, successor, now)
    return successor


def amendable(connection: sqlite3.Connection, record: str) -> sqlite3.Row:
    """Return the meta row of a record that may be corrected now. AgentError as `amend`."""
    return in_state(connection, record, "parked", "held")


def discard(
    connection: sqlite3.Connection,
    vault: Vault,
    record: str,
    *,
    closed_as: str,
    who: str,
    why: str,
    now: datetime,
) -> None:
    """Let nobody here go on with a record, under a person's name; it stays in the balance.

    `closed_as` given_up, `why` in that person's words; or moved, `why` the export's name. AgentError E3120: a
    failed verification - or one that nobody can read - leaves only after an export.
    """
    with transaction(connection, durable=True):
        row = discardable(connection, vault, record)
        _close(connection, row, closed_as, who, why, now)


def discardable(connection: sqlite3.Connection, vault: Vault, record: str) -> sqlite3.Row:
    """Return the meta row of a record that may be discarded now. AgentError as `discard`."""
    row = in_state(connection, record, "ready", "held", "parked", "quarantined")
    if row["exported_at"] is None and _may_be_failed(connection, vault, row):
        raise AgentError("E3120", record=record)
    return row


def _may_be_failed(connection: sqlite3.Connection, vault: Vault, row: sqlite3.Row) -> bool:
    try:
        return vault.verification(connection, row).face.result is FaceResult.FAILED
    except AgentError:
        return True


def _close(
    connection: sqlite3.Connection, row: sqlite3.Row, closed_as: str, who: str, why: str, now: datetime
) -> None:
    connection.execute(
        "UPDATE record SET state = 'discarded', closed_as = ?, closed_by = ?, closed_why = ?, "
        "finished_at = ? WHERE seq = ?",
        (closed_as, who, why, millis(now), row["seq"]),
    )
    ledger.close(connection, row["state"], closed_as)


def note_exported(connection: sqlite3.Connection, records: Sequence[str], now: datetime) -> int:
    """Note that a sealed export holds these, durably written. Return how many of them are records."""
    with transaction(connection, durable=True):
        # Follow-ups without a record go along under ids that no record has.
        return sum(
            connection.execute(
                "UPDATE record SET exported_at = ? WHERE id = ?", (millis(now), record)
            ).rowcount
            for record in records
        )
