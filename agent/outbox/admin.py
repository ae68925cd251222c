"""What is done to records that nobody is sending: complete, retry, set aside, erase."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime

from agent.catalogue import AgentError
from agent.outbox import ledger, sealing
from agent.outbox.owner import transaction
from agent.outbox.rows import find, holds_json, millis
from agent.outbox.vault import Vault, label, picture_kind
from agent.records import Hold, PictureKind, Supplement

#: Pages given back in one idle step: some tens of milliseconds.
VACUUM_PAGES = 500
#: Records erased in one transaction: the desk may be waiting for the connection.
PURGE_STEP = 50


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


def retry(connection: sqlite3.Connection, record: str) -> None:
    """Make a parked record ready, or a backed-off one due."""
    with transaction(connection, durable=True):
        row = in_state(connection, record, "parked", "ready")
        connection.execute(
            "UPDATE record SET state = 'ready', next_attempt_at = 0 WHERE seq = ?", (row["seq"],)
        )
        ledger.move(connection, row["state"], "ready")


def quarantine(connection: sqlite3.Connection, record: str, code: str) -> None:
    """Set an unreadable record aside."""
    with transaction(connection, durable=True):
        row = in_state(connection, record, "sending", "ready", "held", "parked")
        connection.execute(
            "UPDATE record SET state = 'quarantined', epoch = NULL, token = NULL, last_code = ? "
            "WHERE seq = ?",
            (code, row["seq"]),
        )
        ledger.move(connection, row["state"], "quarantined")


def purge(connection: sqlite3.Connection, before: datetime) -> int:
    """Erase the keys and bodies of records delivered before that time, and give pages back."""
    erased = 0
    while step := _purge_step(connection, before):
        erased += step
    if erased:
        # `execute` would free one page only: the statement gives a row a page.
        connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
    return erased


def _purge_step(connection: sqlite3.Connection, before: datetime) -> int:
    with transaction(connection, durable=True):
        found = connection.execute(
            "SELECT seq, size FROM record WHERE state = 'delivered' AND wrapped_key IS NOT NULL "
            "AND finished_at < ? LIMIT ?",
            (millis(before), PURGE_STEP),
        ).fetchall()
        for row in found:
            connection.execute("DELETE FROM body WHERE record = ?", (row["seq"],))
            connection.execute("UPDATE record SET wrapped_key = NULL, size = 0 WHERE seq = ?", (row["seq"],))
            ledger.freed(connection, row["size"])
    return len(found)
