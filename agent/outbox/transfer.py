"""A record as it travels from one kiosk PC to its successor: everything of it, in one piece of bytes.

    4 bytes, big-endian: length of the head | head: JSON | bodies, one behind the other

The head carries the meta row, the receipt if there is one, and the length of each body. A follow-up without
a record travels as a piece whose head names the case in place of a meta row. The piece itself is plain; it
leaves the process only sealed under the export's key (agent.passphrase).
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.catalogue import AgentError
from agent.outbox import followups, intake, ledger
from agent.outbox.claims import kept_conventions
from agent.outbox.migrations import closing
from agent.outbox.owner import transaction
from agent.outbox.rows import find, millis
from agent.outbox.vault import Vault

VERSION = 1
_LENGTH = struct.Struct(">I")
_META = (
    "id",
    "state",
    "verified_at",
    "created_at",
    "lane",
    "attempts",
    "unknown",
    "last_code",
    "last_detail",
    "holds",
    "content",
    "finished_at",
    "supersedes",
    "superseded_by",
    "closed_by",
    "closed_why",
    "closed_as",
)
_RECEIPT = ("request_id", "sm3", "return_time", "code", "exception_code", "message", "signed", "at")


@dataclass(frozen=True)
class Taken:
    """What an import did with one piece."""

    id: str
    new: bool  # False: it was there already
    is_record: bool = True  # False: a follow-up without one


def exportable(connection: sqlite3.Connection) -> list[str]:
    """Return the ids of what travels: every record, then follow-ups without one.

    One that is being sent is refused when its turn comes (E3115), should it be sent then still: left out here
    it would stay behind unnoticed.
    """
    records = connection.execute("SELECT id FROM record ORDER BY seq")
    return [row["id"] for row in records] + followups.without_record(connection)


def waiting(connection: sqlite3.Connection) -> list[str]:
    """Return the ids of what somebody still has to go on with."""
    rows = connection.execute(
        "SELECT id FROM record WHERE state NOT IN ('delivered', 'discarded') ORDER BY seq"
    )
    return [row["id"] for row in rows]


def packed(connection: sqlite3.Connection, vault: Vault, case: str) -> bytes:
    """Return one record, or follow-up without one, in one piece. AgentError E3110 where there is neither.

    What is unreadable goes as its sealed rows, for whoever can open them.
    """
    row = followups.open_row(connection, case)
    if row is None or _has(connection, case):
        return _packed_record(connection, vault, case)
    head = {"version": VERSION, "case": case}
    try:
        return _joined({**head, "followup": followups.plain(vault, row)}, {})
    except AgentError as error:
        sealed = {kind: row[kind] for kind in ("wrapped_key", "sealed")}
        return _joined({**head, "unreadable": error.code}, sealed)


def _has(connection: sqlite3.Connection, record: str) -> bool:
    return connection.execute("SELECT 1 FROM record WHERE id = ?", (record,)).fetchone() is not None


def _packed_record(connection: sqlite3.Connection, vault: Vault, record: str) -> bytes:
    row = find(connection, record)
    if row["state"] == "sending":
        raise AgentError("E3115", record=record)
    head: dict[str, Any] = {"version": VERSION, "meta": {name: row[name] for name in _META}}
    receipt = connection.execute("SELECT * FROM receipt WHERE record = ?", (row["seq"],)).fetchone()
    if receipt is not None:
        # Without pictures nobody could compute the pseudonym anew on the other machine.
        head["receipt"] = {name: receipt[name] for name in _RECEIPT} | {"person": receipt["person"]}
    bodies: dict[str, bytes] = {}
    if row["wrapped_key"] is not None:
        head["conventions"] = kept_conventions(connection, row)
        try:
            vault.whole(connection, row)
            bodies = {kind: vault.open(connection, row, kind) or b"" for kind in vault.kinds(connection, row)}
        except AgentError as error:
            head["unreadable"] = error.code
            bodies = _sealed(connection, row)
    head["followup"] = followups.open_of(connection, vault, record)
    return _joined(head, bodies)


def _joined(head: Mapping[str, Any], bodies: Mapping[str, bytes]) -> bytes:
    lengths = {kind: len(body) for kind, body in bodies.items()}
    text = json.dumps({**head, "bodies": lengths}, ensure_ascii=False).encode()
    return _LENGTH.pack(len(text)) + text + b"".join(bodies.values())


def _sealed(connection: sqlite3.Connection, row: sqlite3.Row) -> dict[str, bytes]:
    found = connection.execute("SELECT kind, sealed FROM body WHERE record = ?", (row["seq"],))
    return {"wrapped_key": row["wrapped_key"], **{body["kind"]: body["sealed"] for body in found}}


def unpack(
    connection: sqlite3.Connection,
    vault: Vault,
    entry: bytes,
    pseudonym: Callable[[str], str],
    now: datetime,
) -> Taken:
    """Take one record, or follow-up without one, in, under keys of this machine.

    AgentError E3124 for a piece that is none or of a later version, E3125 for one that went unreadable
    already. What can be read under its id stays, whatever the piece holds.
    """
    head, bodies = _parted(entry)
    case, is_record = _id(head), "meta" in head
    if "unreadable" in head:
        # Whom the case is about lies under a key of its own: it may be readable where the record is not.
        _take_case(connection, vault, case, head)
        raise AgentError("E3125", record=case, cause=head["unreadable"])
    if not is_record:
        return Taken(case, _take_case(connection, vault, case, head), is_record)
    return Taken(case, _take_record(connection, vault, head, bodies, pseudonym, now))


def _take_case(connection: sqlite3.Connection, vault: Vault, case: str, head: Mapping[str, Any]) -> bool:
    if head.get("followup") is None:
        return False
    with transaction(connection, durable=True):
        return followups.insert_within(connection, followups.of_import(vault, case, head["followup"]))


def _take_record(
    connection: sqlite3.Connection,
    vault: Vault,
    head: Mapping[str, Any],
    bodies: Mapping[str, bytes],
    pseudonym: Callable[[str], str],
    now: datetime,
) -> bool:
    meta = {name: head["meta"].get(name) for name in _META}
    if meta["state"] == "discarded" and meta["closed_as"] is None:  # exported by a version before the fourth
        meta["closed_as"], meta["closed_why"] = closing(meta["closed_why"], meta["superseded_by"])
    with transaction(connection, durable=True):
        there = connection.execute("SELECT * FROM record WHERE id = ?", (meta["id"],)).fetchone()
        if there is not None:
            if not _gives_way(there, meta, bodies):
                return False
            _make_way(connection, there)
            if there["state"] == "quarantined":  # what was tried here since, an older export does not know
                meta |= {name: max(meta[name], there[name]) for name in ("unknown", "attempts")}
        if bodies:
            number = json.loads(bodies["facts"])["number"]
            _insert_whole(connection, vault, meta, bodies, pseudonym(number))
            _keep_conventions(connection, meta, head.get("conventions"), now)
        else:
            _insert_erased(connection, meta, head.get("receipt", {}).get("person", ""))
        ledger.count_closed(connection, meta["closed_as"])
        if "receipt" in head:
            _insert_receipt(connection, meta["id"], head["receipt"])
        if head.get("followup") is not None:
            followups.insert_within(connection, followups.of_import(vault, meta["id"], head["followup"]))
    return True


def _gives_way(row: sqlite3.Row, meta: Mapping[str, Any], bodies: Mapping[str, bytes]) -> bool:
    """Return whether a record that is there gives way: unreadable to a whole one, handed over to itself."""
    if row["state"] == "quarantined":
        return bool(bodies) and meta["state"] != "quarantined"
    return bool(row["closed_as"] == "moved" and meta["closed_as"] != "moved")


def _make_way(connection: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Let a record come back: what is left of it counts like a discarded one's row that expired."""
    if row["state"] == "quarantined":
        ledger.close(connection, "quarantined", "superseded")
    for table in ("body", "receipt", "attempt"):
        connection.execute(f"DELETE FROM {table} WHERE record = ?", (row["seq"],))  # noqa: S608 -- three constants
    connection.execute("DELETE FROM record WHERE seq = ?", (row["seq"],))
    ledger.freed(connection, row["size"])
    ledger.count_expired(connection, "discarded", 1, known=True)


def _id(head: Mapping[str, Any]) -> Any:
    return head["meta"]["id"] if "meta" in head else head["case"]


def _parted(entry: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        (length,) = _LENGTH.unpack_from(entry)
        head = json.loads(entry[_LENGTH.size : _LENGTH.size + length])
        if head["version"] != VERSION:
            raise AgentError("E3124")
        at = _LENGTH.size + length
        bodies = {}
        for kind, size in head["bodies"].items():
            bodies[kind] = entry[at : at + size]
            at += size
        if at != len(entry) or not isinstance(_id(head), str):
            raise AgentError("E3124")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise AgentError("E3124") from None
    return head, bodies


def _insert_whole(
    connection: sqlite3.Connection,
    vault: Vault,
    meta: Mapping[str, Any],
    bodies: Mapping[str, bytes],
    person: str,
) -> None:
    whole, sealed = intake.sealed(vault, {**meta, "person": person}, bodies)
    intake.insert_within(connection, whole, sealed, max_bytes=None)


def _insert_erased(connection: sqlite3.Connection, meta: Mapping[str, Any], person: str) -> None:
    values = {**meta, "person": person, "size": 0}
    marks = ", ".join("?" for _ in values)
    connection.execute(
        f"INSERT INTO record ({', '.join(values)}) VALUES ({marks})",  # noqa: S608 -- names of _META
        tuple(values.values()),
    )
    ledger.accept(connection, meta["state"], 0)


def _keep_conventions(
    connection: sqlite3.Connection, meta: Mapping[str, Any], conventions: str | None, now: datetime
) -> None:
    """Keep how the last attempt spoke, where its answer is still unknown."""
    if conventions is None:
        return
    fingerprint = intake.digest({"conventions": conventions.encode()})[:16]
    connection.execute("INSERT OR IGNORE INTO conventions VALUES (?, ?)", (fingerprint, conventions))
    connection.execute(
        "INSERT INTO attempt (record, number, at, conventions, outcome) VALUES (?, ?, ?, ?, 'unknown')",
        (find(connection, meta["id"])["seq"], meta["attempts"], millis(now), fingerprint),
    )


def _insert_receipt(connection: sqlite3.Connection, record: str, receipt: Mapping[str, Any]) -> None:
    values = {name: receipt[name] for name in _RECEIPT}
    row = find(connection, record)
    values |= {"record": row["seq"], "person": row["person"]}
    marks = ", ".join("?" for _ in values)
    connection.execute(
        f"INSERT INTO receipt ({', '.join(values)}) VALUES ({marks})",  # noqa: S608 -- the names above
        tuple(values.values()),
    )
