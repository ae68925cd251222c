"""Outboxes as earlier versions of the schema wrote them: made anew from those versions' own DDL."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from outbox_support import PICTURES, SEAL_KEY, open_outbox, verification

from agent.outbox import Outbox, SettleParked, migrations, owner, sealing
from agent.outbox.intake import facts
from agent.outbox.sealing import Key, KeyEncryptionKey
from agent.outbox.vault import label
from agent.records import PictureKind

#: What version 3 wrote for a record that another machine goes on with.
MOVED = "moved to another machine"


def _made(folder: Path, version: int) -> sqlite3.Connection:
    """Make an empty file of a version of the schema."""
    schema = (Path(__file__).parent / "data" / f"outbox_v{version}.sql").read_text("utf-8")
    connection = sqlite3.connect(folder / "outbox.db")
    connection.executescript(
        f"PRAGMA page_size = {owner.PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
        f"BEGIN; {schema} PRAGMA user_version = {version}; COMMIT;"
    )
    return connection


def write_version_1(folder: Path, count: int = 3) -> list[str]:
    """Leave an outbox as version 1 of the schema wrote it, with a few waiting records. Return their ids."""
    connection = _made(folder, 1)
    kek = KeyEncryptionKey.derived(SEAL_KEY)
    epoch = Key(sealing.new_secret(), 1)
    wrapped_epoch = kek.wrap(1, epoch.secret)
    connection.execute("INSERT INTO epoch_key VALUES (1, ?, ?, 0)", (kek.id, wrapped_epoch))
    made = [verification() for _ in range(count)]
    for number, one in enumerate(made, start=1):
        key = Key(sealing.new_secret(), 1)
        plain = {"facts": facts(one), "picture:camera": PICTURES[PictureKind.CAMERA]}
        bodies = {kind: sealing.seal(key, body, label(one.id, kind)) for kind, body in plain.items()}
        size = sum(map(len, bodies.values()))
        connection.execute(
            "INSERT INTO record (id, state, person, verified_at, created_at, attempts, lane, size, content_sm3, wrapped_key) "
            "VALUES (?, 'ready', ?, 0, 0, 1, 1, ?, '', ?)",
            (one.id, f"old{number}", size, sealing.wrap_record_key(epoch, key.secret, one.id)),
        )
        for kind, body in bodies.items():
            connection.execute(
                "INSERT INTO body (record, kind, sealed) VALUES (?, ?, ?)", (number, kind, body)
            )
        connection.execute("INSERT INTO attempt (record, number, at) VALUES (?, 1, 5)", (number,))
        connection.execute(
            "UPDATE ledger SET accepted = accepted + 1, ready = ready + 1, bytes = bytes + ?", (size,)
        )
    connection.commit()
    connection.close()
    return [one.id for one in made]


def close_one_of_each(outbox: Outbox) -> dict[str, str]:
    """Leave a record closed for each reason, and two that wait. Return reason -> id."""
    ids = {}
    for reason in ("superseded", "moved", "given_up", "waits"):
        one = verification()
        outbox.put(one, PICTURES, person="p", holds={})
        ids[reason] = one.id
    claim = outbox.claim(outbox._clock.now())
    assert claim is not None
    outbox.settle(claim, SettleParked("E5101", ""))
    assert claim.id == ids["superseded"]
    administration = outbox.administration
    ids["successor"], _ = administration.amend(claim.id, lambda _: {"address": "别处"}, lambda *_: {}, "root")
    administration.note_exported([ids["moved"]])
    administration.hand_over(ids["moved"], "root", "export.bin")
    administration.discard(ids["given_up"], "root", "试机")
    return ids


def write_version_3(folder: Path) -> dict[str, str]:
    """Leave an outbox as a killed version 3 left it, with records closed for each reason. Return reason -> id."""
    with open_outbox(folder) as outbox:
        ids = close_one_of_each(outbox)
    turn_into_version_3(folder)
    log, kept = folder / "outbox.db-wal", folder / "outbox.db-wal.kept"
    with closing(sqlite3.connect(folder / "outbox.db")) as connection:
        connection.execute("PRAGMA user_version = 3")
        shutil.copyfile(log, kept)
    kept.rename(log)
    return ids


def turn_into_version_3(folder: Path) -> None:
    """Copy the rows of today's outbox into a file of version 3, with the sentences that it kept for keys."""
    newer = (folder / "outbox.db").rename(folder / "outbox.db.newer")
    with closing(_made(folder, 3)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("ATTACH ? AS newer", (str(newer),))
        tables = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
        for table in (row["name"] for row in tables if not row["name"].startswith("sqlite_")):
            columns = [row["name"] for row in connection.execute(f"PRAGMA main.table_info({table})")]
            names = ", ".join(columns)
            connection.execute(
                f"INSERT OR REPLACE INTO main.{table} ({names}) SELECT {names} FROM newer.{table}"
            )
        connection.execute(
            "UPDATE record SET closed_why = 'superseded by ' || superseded_by WHERE superseded_by IS NOT NULL"
        )
        connection.execute(
            "UPDATE record SET closed_why = ? WHERE id IN "
            "(SELECT id FROM newer.record WHERE closed_as = 'moved')",
            (MOVED,),
        )
        kept = (("schema", "3"), ("schema_sm3", migrations._digest(connection)))
        connection.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", kept)
        connection.commit()
        connection.execute("DETACH newer")
    newer.unlink()
