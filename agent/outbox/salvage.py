"""A damaged database: what can be read goes on in a new file, the old one is kept untouched.

Records whose own row is gone are rebuilt from what lies beside their sealed facts. What cannot be read is
not dropped: the audit trail knows which records there were, and the owner of the state directory notes the
missing ones as quarantined.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent import logs
from agent.keys import sync_folder
from agent.outbox import ledger
from agent.outbox.migrations import bring_up_to_date, name_closings
from agent.outbox.owner import PAGE_BYTES, connect, damage_mark, mark_damaged, transaction
from agent.outbox.pages import PageFile, RawRow, Value

log = logs.get(__name__)

_ID = re.compile(r"[0-9a-f]{32}")
_FINGERPRINT = re.compile(r"[0-9a-f]{8,}")
#: Rows a transaction: bodies of some megabytes each stay well below the memory of a kiosk.
_STEP = 20
TABLES = (
    "record",
    "body",
    "receipt",
    "epoch_key",
    "epoch",
    "ledger",
    "attempt",
    "conventions",
    "setting",
    "opened",
    "followup",
)


@dataclass(frozen=True)
class Salvaged:
    """What became of a damaged file: where it lies, how many records go on, how many were rebuilt."""

    kept_in: Path
    records: int
    rebuilt: int


def salvage(path: Path, reason: str) -> Salvaged:
    """Put a new database in the place of a damaged one. OSError or sqlite3.Error when there is no room."""
    mark_damaged(path)
    folder = _set_aside(path)
    fresh = path.with_name(f"{path.name}.salvage")
    for leftover in path.parent.glob(f"{fresh.name}*"):
        leftover.unlink()
    source = PageFile(folder / path.name, folder / f"{path.name}-wal", PAGE_BYTES)
    with closing(connect(fresh)) as connection, closing(source):
        bring_up_to_date(connection, fresh)
        _copy(connection, source)
        rebuilt = _rebuild_lost_rows(connection)
        with transaction(connection, durable=True):
            name_closings(connection)
            ledger.rebuild(connection)
            records = int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    fresh.rename(path)
    sync_folder(path.parent)  # the mark may only go when the name is there
    damage_mark(path).unlink(missing_ok=True)
    logs.say(log, "E3129", reason=reason, records=records, rebuilt=rebuilt, kept_in=folder.name)
    return Salvaged(folder, records, rebuilt)


def _set_aside(path: Path) -> Path:
    """Move the damaged files into a folder of their own; go on where an earlier try was cut off.

    The database last: a folder without one is an earlier try's, whose log may lie there already. A power cut
    may undo either move alone: a log that is still here belongs to the database in the newest folder.
    """
    folders = sorted(path.parent.glob("damaged-*"))
    if not folders or (path.exists() and (folders[-1] / path.name).exists()):
        folders.append(path.with_name(f"damaged-{len(folders) + 1:03d}"))
        folders[-1].mkdir(mode=0o700)
    for name in (f"{path.name}-wal", path.name):
        if path.with_name(name).exists():
            path.with_name(name).rename(folders[-1] / name)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    for folder in (folders[-1], path.parent):
        sync_folder(folder)
    return folders[-1]


def lone_log(path: Path) -> bool:
    """Return whether a write-ahead log lies here without its database: SQLite would delete it unread."""
    log_file = path.with_name(f"{path.name}-wal")
    return (
        log_file.exists() and log_file.stat().st_size > 0 and (not path.exists() or path.stat().st_size == 0)
    )


def unfinished(path: Path) -> bool:
    """Return whether an earlier salvage moved the database aside and did not come to its end."""
    return damage_mark(path).exists() and not path.exists() and any(path.parent.glob("damaged-*"))


def _copy(connection: sqlite3.Connection, source: PageFile) -> None:
    columns = {
        table: [row["name"] for row in connection.execute(f"PRAGMA table_info({table})")] for table in TABLES
    }
    # Parents may come behind their children here.
    connection.execute("PRAGMA foreign_keys = OFF")
    for batch in _batches(source.rows()):
        with transaction(connection, durable=False):
            for row in batch:
                table = _table_of(row)
                if table is not None:
                    _insert(connection, table, columns[table], row)
    _drop_other_ids(connection)
    connection.execute("PRAGMA foreign_keys = ON")


def _insert(connection: sqlite3.Connection, table: str, columns: list[str], row: RawRow) -> None:
    values = list(row.values)
    if row.rowid is not None:
        values[0] = row.rowid
    if table == "record" and not _sound_holds(values[columns.index("holds")]):
        return
    # A row written before a column was added is shorter; the column's default stands for the rest.
    names = columns[: len(values)]
    marks = ", ".join("?" for _ in names)
    verb = "REPLACE INTO" if table == "ledger" else "INSERT OR IGNORE INTO"
    try:
        connection.execute(f"{verb} {table} ({', '.join(names)}) VALUES ({marks})", values[: len(names)])
    except sqlite3.IntegrityError:
        return  # a value that the schema does not allow: this row is part of the damage


def _sound_holds(text: Value) -> bool:
    """Return whether the one text of a record's row that has a form of its own still has it."""
    try:
        return isinstance(json.loads(str(text)), dict)
    except ValueError:
        return False


def _batches(rows: Iterator[RawRow]) -> Iterator[list[RawRow]]:
    batch: list[RawRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _STEP:
            yield batch
            batch = []
    yield batch


def _table_of(row: RawRow) -> str | None:
    """Tell by its form which table a row belongs to; None for an index's entry or nonsense."""
    return _rowid_table(row.values) if row.rowid is not None else _keyed_table(row.values)


def _rowid_table(values: tuple[Value, ...]) -> str | None:
    match values:
        case (None, str(name), str(), str(), *_) if len(values) >= 19 and _ID.fullmatch(name):
            return "record"
        case (None, int(), str(), bytes(), *rest) if len(rest) <= 1:
            return "body"
        case (None, str(), bytes(), int()):
            return "epoch_key"
        case (None, str(), int(), str(), *_) if len(values) == 9:
            return "followup"
        case (None, int()):
            return "epoch"
        case (None, str(), str(), str(), *_) if len(values) == 10:
            return "receipt"
        case (None, *counters) if len(values) >= 10 and all(isinstance(value, int) for value in counters):
            return "ledger"
    return None


def _keyed_table(values: tuple[Value, ...]) -> str | None:
    match values:
        case (int(), int(), int(), *_) if len(values) == 10:
            return "attempt"
        case (str(), int(), bytes()):
            return "opened"
        case (str(name), str()):
            return "conventions" if _FINGERPRINT.fullmatch(name) else "setting"
    return None


def _rebuild_lost_rows(connection: sqlite3.Connection) -> int:
    """Make the record rows that were lost anew, from beside their facts; drop bodies that belong to none."""
    orphans = connection.execute(
        "SELECT record, origin FROM body WHERE origin IS NOT NULL AND record NOT IN (SELECT seq FROM record)"
    ).fetchall()
    rebuilt = 0
    with transaction(connection, durable=False):
        for row in orphans:
            try:
                origin = json.loads(row["origin"])
                _rebuild(connection, row["record"], origin)
                rebuilt += 1
            except (ValueError, KeyError, TypeError, sqlite3.IntegrityError):
                continue
        connection.execute(
            "DELETE FROM body WHERE record NOT IN (SELECT seq FROM record WHERE wrapped_key IS NOT NULL)"
        )
        for table in ("receipt", "attempt"):
            connection.execute(f"DELETE FROM {table} WHERE record NOT IN (SELECT seq FROM record)")  # noqa: S608 -- two constants
    return rebuilt


def _drop_other_ids(connection: sqlite3.Connection) -> None:
    """Drop record rows under another id than their facts were sealed with: nothing of theirs would open."""
    rows = connection.execute(
        "SELECT record.seq, id, origin FROM record JOIN body ON body.record = record.seq "
        "WHERE origin IS NOT NULL"
    )
    other = [row["seq"] for row in rows if _sealed_as(row["origin"]) not in {None, row["id"]}]
    with transaction(connection, durable=False):
        for seq in other:
            connection.execute("DELETE FROM record WHERE seq = ?", (seq,))


def _sealed_as(origin: str) -> str | None:
    try:
        name = str(json.loads(origin)["id"])
    except (ValueError, KeyError, TypeError):
        return None
    return name if _ID.fullmatch(name) else None


def _rebuild(connection: sqlite3.Connection, seq: int, origin: Mapping[str, Value]) -> None:
    receipt = connection.execute("SELECT at FROM receipt WHERE record = ?", (seq,)).fetchone()
    tried = connection.execute("SELECT count(*) FROM attempt WHERE record = ?", (seq,)).fetchone()[0]
    size = connection.execute("SELECT sum(length(sealed)) FROM body WHERE record = ?", (seq,)).fetchone()[0]
    state = "delivered" if receipt else "held" if origin["holds"] != "{}" else "ready"
    values = {
        **{name: origin[name] for name in ("id", "person", "verified_at", "created_at", "holds", "content")},
        "seq": seq,
        "state": state,
        "wrapped_key": bytes.fromhex(str(origin["wrapped_key"])),
        "size": size,
        "attempts": tried,
        "lane": int(tried > 0),
        # Whether it was sent is not known for certain: it keeps its conventions and its request id.
        "unknown": int(tried > 0 and not receipt),
        "finished_at": receipt["at"] if receipt else None,
    }
    marks = ", ".join("?" for _ in values)
    connection.execute(
        f"INSERT INTO record ({', '.join(values)}) VALUES ({marks})",  # noqa: S608 -- the names above
        tuple(values.values()),
    )
