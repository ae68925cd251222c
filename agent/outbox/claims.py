"""Claim, send, settle: who is sending a record, and what became of it.

A claim belongs to one process epoch and one token and has no lease time: it returns only when that
process, or its loop, is gone - so a slow line or a clock jump makes no second sender. The claim and its
attempt row are one commit, before anything is sent; nothing of them needs to survive a power cut, so they
are not synced. What became of it is.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agent.catalogue import AgentError
from agent.outbox import ledger
from agent.outbox.owner import transaction
from agent.outbox.rows import find, holds_json, millis
from agent.records import Hold, PictureKind, Receipt, Verification

#: Three new records leave for each one that waited: today's desk is not behind three weeks of backlog.
NEW_TO_WAITING = 3
#: Attempts after which a sender's death is held against the record, and how long it then steps aside.
DEATHS_BEFORE_ASIDE = 4
LONGEST_ASIDE = timedelta(hours=6)
#: No back-off is longer; a later time was set by a clock that has since been put right.
LONGEST_WAIT = timedelta(days=2)


@dataclass(frozen=True)
class Claim:
    """One record, ours to send."""

    id: str
    token: str
    attempts: int  # this one included
    verification: Verification = field(repr=False)
    unknown: bool  # an earlier attempt's answer is not known: the platform may have it
    kept_conventions: str | None  # JSON of that attempt's conventions
    too_large: int  # attempts that the platform, or something on the way, found too large
    size: int  # sealed bytes: what it costs to open
    picture: Callable[[PictureKind], bytes | None] = field(repr=False)


@dataclass(frozen=True)
class SettleDelivered:
    """The platform has it."""

    receipt: Receipt


@dataclass(frozen=True)
class SettleLater:
    """Again at `next_attempt_at`.

    `unknown`: True, the platform may have it already; False, it answered and has not; None, it was not
    reached, so that whatever was known before still holds.
    """

    next_attempt_at: datetime
    code: str
    detail: str
    unknown: bool | None


@dataclass(frozen=True)
class SettleBack:
    """It was not sent after all: as it was before the claim, due at `next_attempt_at`."""

    next_attempt_at: datetime


@dataclass(frozen=True)
class SettleHeld:
    """Something is missing locally."""

    holds: Mapping[Hold, str]


@dataclass(frozen=True)
class SettleWithheld:
    """Held before anything was made of it: the attempt was none."""

    holds: Mapping[Hold, str]


@dataclass(frozen=True)
class SettleParked:
    """Refused for good: waits for a person."""

    code: str
    detail: str


Settlement = SettleDelivered | SettleLater | SettleBack | SettleHeld | SettleWithheld | SettleParked

#: The code under which an attempt was too large; counted, because smaller pictures are tried once.
TOO_LARGE = "E5104"

# Due, in its lane, and no earlier record of the same person is due as well.
DUE = """
SELECT * FROM record AS r
WHERE state = 'ready' AND lane = :lane AND next_attempt_at <= :now AND NOT EXISTS (
    SELECT 1 FROM record AS e WHERE e.person = r.person AND e.verified_at <= r.verified_at
    AND e.state = 'ready' AND e.next_attempt_at <= :now AND e.seq <> r.seq
    AND (e.verified_at < r.verified_at OR e.seq < r.seq))
ORDER BY next_attempt_at, seq LIMIT :most
"""


def take(
    connection: sqlite3.Connection, epoch: int, now: datetime, turn: int
) -> tuple[sqlite3.Row, str] | None:
    """Claim the next due record. Return its meta row and the token, None when nothing is due."""
    with transaction(connection, durable=False):
        row = _next_due(connection, now, turn)
        if row is None:
            return None
        token = secrets.token_hex(8)
        connection.execute(
            "UPDATE record SET state = 'sending', epoch = ?, token = ?, attempts = attempts + 1, lane = 1 "
            "WHERE seq = ?",
            (epoch, token, row["seq"]),
        )
        connection.execute(
            "INSERT INTO attempt (record, number, at) VALUES (?, ?, ?)",
            (row["seq"], row["attempts"] + 1, millis(now)),
        )
        ledger.move(connection, "ready", "sending")
    return row, token


def _next_due(connection: sqlite3.Connection, now: datetime, turn: int) -> sqlite3.Row | None:
    # A time too far ahead was set by a wrong clock: due now, instead of weeks late.
    connection.execute(
        "UPDATE record SET next_attempt_at = 0 WHERE state = 'ready' AND lane IN (0, 1) "
        "AND next_attempt_at > ?",
        (millis(now + LONGEST_WAIT),),
    )
    for lane in _lanes(turn):
        for row in _due(connection, now, lane, 1):
            return row
    return None


def _due(connection: sqlite3.Connection, now: datetime, lane: int, most: int) -> list[sqlite3.Row]:
    return connection.execute(DUE, {"lane": lane, "now": millis(now), "most": most}).fetchall()


def _lanes(turn: int) -> tuple[int, int]:
    """Return the lane that is looked at first at this turn, and the other one."""
    return (1, 0) if turn % (NEW_TO_WAITING + 1) == NEW_TO_WAITING else (0, 1)


def kept_conventions(connection: sqlite3.Connection, row: sqlite3.Row) -> str | None:
    """Return the conventions of the last attempt whose answer is not known, None when it is known."""
    if not row["unknown"]:
        return None
    found = connection.execute(
        "SELECT json FROM attempt JOIN conventions ON fingerprint = attempt.conventions "
        "WHERE record = ? ORDER BY number DESC LIMIT 1",
        (row["seq"],),
    ).fetchone()
    return None if found is None else str(found["json"])


def too_large(connection: sqlite3.Connection, row: sqlite3.Row) -> int:
    """Return how many attempts were found too large."""
    found = connection.execute(
        "SELECT count(*) FROM attempt WHERE record = ? AND code = ?", (row["seq"], TOO_LARGE)
    ).fetchone()
    return int(found[0])


def upcoming(connection: sqlite3.Connection, now: datetime, turn: int, most: int) -> list[str]:
    """Return the records that the next `most` turns would probably claim, in that order; none is claimed.

    Probably: a person's second record is not foreseen while the first waits.
    """
    waiting = {lane: _due(connection, now, lane, most) for lane in (0, 1)}
    found: list[str] = []
    for ahead in range(most):
        lane = next((lane for lane in _lanes(turn + ahead) if waiting[lane]), None)
        if lane is not None:
            found.append(waiting[lane].pop(0)["id"])
    return found


def note(connection: sqlite3.Connection, claim: Claim, now: datetime, values: Mapping[str, object]) -> None:
    """Write what is about to be sent into the attempt's row."""
    with transaction(connection, durable=False):
        row = _ours(connection, claim)
        connection.execute(
            "INSERT OR IGNORE INTO conventions VALUES (?, ?)",
            (values["conventions_fingerprint"], values["conventions_json"]),
        )
        connection.execute(
            "UPDATE attempt SET at = ?, request_id = ?, conventions = ?, sm3 = ?, length = ? "
            "WHERE record = ? AND number = ?",
            (
                millis(now),
                values["request_id"],
                values["conventions_fingerprint"],
                values["sm3_hex"],
                values["length"],
                row["seq"],
                row["attempts"],
            ),
        )


def settle(connection: sqlite3.Connection, claim: Claim, settlement: Settlement, now: datetime) -> None:
    """Write what became of a claim: one synced commit. AgentError E3112 when the claim is no longer ours."""
    # What was not sent may be undone by a power cut: it would only be claimed again.
    with transaction(connection, durable=not isinstance(settlement, SettleBack)):
        row = _ours(connection, claim)
        match settlement:
            case SettleDelivered(receipt):
                _deliver(connection, row, receipt, now)
            case SettleBack(due):
                _give_back(connection, row, due)
            case SettleLater(due, code, detail, unknown):
                _leave(connection, row, "ready", "unknown" if unknown else "later", now, code, detail)
                connection.execute(
                    "UPDATE record SET next_attempt_at = ?, unknown = coalesce(?, unknown) WHERE seq = ?",
                    (millis(due), None if unknown is None else int(unknown), row["seq"]),
                )
            case SettleHeld(holds):
                _leave(connection, row, "held", "held", now)
                connection.execute(
                    "UPDATE record SET holds = ? WHERE seq = ?", (holds_json(holds), row["seq"])
                )
            case SettleWithheld(holds):
                _give_back(connection, row, now)
                connection.execute(
                    "UPDATE record SET state = 'held', holds = ? WHERE seq = ?",
                    (holds_json(holds), row["seq"]),
                )
                ledger.move(connection, "ready", "held")
            case SettleParked(code, detail):
                _leave(connection, row, "parked", "parked", now, code, detail)


def _give_back(connection: sqlite3.Connection, row: sqlite3.Row, due: datetime) -> None:
    connection.execute("DELETE FROM attempt WHERE record = ? AND number = ?", (row["seq"], row["attempts"]))
    connection.execute(
        "UPDATE record SET state = 'ready', epoch = NULL, token = NULL, attempts = attempts - 1, "
        "lane = (attempts > 1), next_attempt_at = ? WHERE seq = ?",
        (millis(due), row["seq"]),
    )
    ledger.move(connection, "sending", "ready")


def _ours(connection: sqlite3.Connection, claim: Claim) -> sqlite3.Row:
    row = find(connection, claim.id)
    if row["state"] != "sending" or row["token"] != claim.token:
        raise AgentError("E3112", record=claim.id, state=row["state"])
    return row


def _deliver(connection: sqlite3.Connection, row: sqlite3.Row, receipt: Receipt, now: datetime) -> None:
    _leave(connection, row, "delivered", "delivered", now)
    connection.execute(
        "UPDATE record SET finished_at = ?, unknown = 0 WHERE seq = ?", (millis(now), row["seq"])
    )
    sent = connection.execute(
        "SELECT sm3 FROM attempt WHERE record = ? AND number = ?", (row["seq"], row["attempts"])
    ).fetchone()
    connection.execute(
        "INSERT INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row["seq"],
            receipt.request_id,
            row["person"],
            sent["sm3"],
            receipt.return_time,
            receipt.code,
            receipt.exception_code,
            receipt.message,
            int(receipt.signed),
            millis(now),
        ),
    )


def _leave(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    state: str,
    outcome: str,
    now: datetime,
    code: str | None = None,
    detail: str | None = None,
) -> None:
    """Take a record out of `sending`."""
    connection.execute(
        "UPDATE record SET state = ?, epoch = NULL, token = NULL, last_code = ?, last_detail = ? "
        "WHERE seq = ?",
        (state, code, detail, row["seq"]),
    )
    connection.execute(
        "UPDATE attempt SET ended_at = ?, outcome = ?, code = ? WHERE record = ? AND number = ?",
        (millis(now), outcome, code, row["seq"], row["attempts"]),
    )
    ledger.move(connection, "sending", state)


def _after_a_death(row: sqlite3.Row, now: datetime) -> int:
    """Return when a record may go again whose sender died: one that keeps killing it steps aside."""
    if row["attempts"] < DEATHS_BEFORE_ASIDE:
        return 0
    return millis(now + min(timedelta(seconds=2.0 ** min(row["attempts"], 20)), LONGEST_ASIDE))


def return_abandoned(connection: sqlite3.Connection, now: datetime) -> int:
    """Put back what a dead process or loop was sending, its answer unknown. Return how many there were.

    An attempt that never got as far as naming its request was certainly not sent.
    """
    # No index is kept for a state that holds one record at most; the ledger knows whether to look.
    if connection.execute("SELECT sending FROM ledger").fetchone()["sending"] == 0:
        return 0
    with transaction(connection, durable=True):
        rows = connection.execute("SELECT * FROM record WHERE state = 'sending'").fetchall()
        for row in rows:
            sent = connection.execute(
                "SELECT request_id FROM attempt WHERE record = ? AND number = ?",
                (row["seq"], row["attempts"]),
            ).fetchone()
            _leave(connection, row, "ready", "interrupted", now)
            connection.execute(
                "UPDATE record SET next_attempt_at = ?, unknown = max(unknown, ?) WHERE seq = ?",
                (
                    _after_a_death(row, now),
                    int(sent is not None and sent["request_id"] is not None),
                    row["seq"],
                ),
            )
    return len(rows)
