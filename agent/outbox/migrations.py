"""From an older schema to this one, in one transaction, with a copy of what the change touches.

Bodies are never rewritten by a migration - they may be 20 GiB - so the copy holds every other table. It
lies beside the database until `forget_backups` and is for the one case that the migration itself is wrong.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from agent import sm
from agent.balance import GONE_ON
from agent.catalogue import AgentError
from agent.keys import sync_folder
from agent.outbox import ledger
from agent.outbox.owner import transaction

SCHEMA_VERSION = 4
_VERSION, _DIGEST = "schema", "schema_sm3"


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> int:
    """Make the schema, or migrate an older one. Return the version found.

    AgentError E3104 for a newer one, E3107 where only the header claims to be one.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION and _setting(connection, _VERSION) == str(SCHEMA_VERSION):
        raise AgentError("E3107", reason="header")
    if version > SCHEMA_VERSION:
        raise AgentError("E3104", received=version, expected=SCHEMA_VERSION)
    if version == 0:
        schema = resources.files("agent.outbox").joinpath("schema.sql").read_text("utf-8")
        with transaction(connection, durable=True):
            for statement in _statements(schema):
                connection.execute(statement)
            _note(connection)
    elif version < SCHEMA_VERSION:
        _back_up(connection, path.with_name(f"{path.name}.before-{SCHEMA_VERSION}"))
        with transaction(connection, durable=True):
            for step in range(version + 1, SCHEMA_VERSION + 1):
                STEPS[step](connection)
            _note(connection)
    elif _setting(connection, _DIGEST) != _digest(connection):
        raise AgentError("E3107", reason="schema")
    return version


def _note(connection: sqlite3.Connection) -> None:
    """Write down version and digest of the schema, away from the page that they are on."""
    for name, value in ((_VERSION, str(SCHEMA_VERSION)), (_DIGEST, _digest(connection))):
        connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _digest(connection: sqlite3.Connection) -> str:
    """Return what tells a rotten bit in the schema's own text, which SQLite would take at its word."""
    rows = connection.execute("SELECT name || ' ' || coalesce(sql, '') FROM sqlite_master ORDER BY name")
    return sm.sm3("\n".join(row[0] for row in rows).encode()).hex()


def _setting(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row["value"])


def forget_backups(state_dir: Path, older_than_s: float, now_s: float) -> None:
    """Delete the copies that migrations left, once they are old: they hold wrapped keys."""
    for copy in state_dir.glob("outbox.db.before-*"):
        if now_s - copy.stat().st_mtime > older_than_s:
            copy.unlink(missing_ok=True)


def _back_up(connection: sqlite3.Connection, copy: Path) -> None:
    """Write every table but `body` into a file of its own, whole or not at all."""
    draft = copy.with_name(f"{copy.name}.new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    tables = [
        row["name"]
        for row in connection.execute(
            "SELECT name FROM sqlite_master "
            "WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'body'"
        )
    ]
    connection.execute("ATTACH ? AS copy", (str(draft),))
    try:
        connection.execute("PRAGMA copy.journal_mode = OFF")
        for table in tables:
            connection.execute(f"CREATE TABLE copy.{table} AS SELECT * FROM main.{table}")  # noqa: S608 -- names of the schema
    finally:
        connection.execute("DETACH copy")
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(copy)
    # A log that a dead process left is synced without its folder: the change would be there, the copy not.
    sync_folder(copy.parent)


def _to_2(connection: sqlite3.Connection) -> None:
    """Amendments, export marks, fewer indexes, attempts without a second tree."""
    # Imported here: a start that has nothing to migrate does not pay for it.
    from sqlite_utils import Database

    tables = Database(connection)
    # In the order of schema.sql: a salvage reads columns by their place.
    for column in ("supersedes", "superseded_by", "set_aside_from"):
        tables.table("record").add_column(column, str)
    tables.table("record").add_column("exported_at", int)
    for column in ("closed_by", "closed_why"):
        tables.table("record").add_column(column, str)
    tables.table("body").add_column("origin", str)
    for counter in ("expired_delivered", "expired_discarded"):
        tables.table("ledger").add_column(counter, int, not_null_default=0)
    connection.execute("ALTER TABLE record RENAME COLUMN content_sm3 TO content")
    connection.execute("DROP INDEX record_due")
    connection.execute("DROP INDEX record_person")
    connection.execute("ALTER TABLE attempt RENAME TO attempt_1")
    schema = resources.files("agent.outbox").joinpath("schema.sql").read_text("utf-8")
    for statement in _statements(schema):
        # A table is written down once.
        if statement.startswith(("CREATE INDEX record_", "CREATE TABLE attempt ")):
            connection.execute(statement)
    connection.execute(
        "INSERT INTO attempt SELECT record, number, at, request_id, conventions, sm3, length, ended_at, "
        "outcome, code FROM attempt_1"
    )
    connection.execute("DROP TABLE attempt_1")


def _to_3(connection: sqlite3.Connection) -> None:
    """Follow-ups."""
    schema = resources.files("agent.outbox").joinpath("schema.sql").read_text("utf-8")
    for statement in _statements(schema):
        if statement.startswith("CREATE TABLE followup "):
            connection.execute(statement)


def _to_4(connection: sqlite3.Connection) -> None:
    """Why a record is discarded, as a key beside the words."""
    from sqlite_utils import Database

    tables = Database(connection)
    tables.table("record").add_column("closed_as", str)
    for counter in GONE_ON:
        tables.table("ledger").add_column(counter, int, not_null_default=0)
    name_closings(connection)
    ledger.rebuild(connection)


def name_closings(connection: sqlite3.Connection) -> None:
    """Give records that an earlier version discarded their key: it kept English sentences instead."""
    rows = connection.execute(
        "SELECT * FROM record WHERE state = 'discarded' AND closed_as IS NULL"
    ).fetchall()
    for row in rows:
        connection.execute(
            "UPDATE record SET closed_as = ?, closed_why = ? WHERE seq = ?",
            (*closing(row["closed_why"], row["superseded_by"]), row["seq"]),
        )


def closing(sentence: str | None, successor: str | None) -> tuple[str, str | None]:
    """Return key and words for a sentence that a version before the fourth kept."""
    if successor is not None and sentence == f"superseded by {successor}":
        return "superseded", successor
    if sentence == "moved to another machine":
        return "moved", None
    return "given_up", sentence


def _statements(schema: str) -> list[str]:
    """Return the statements of a schema, without their comments."""
    bare = "\n".join(line.partition("--")[0].rstrip() for line in schema.splitlines())
    return [statement.strip() for statement in bare.split(";") if statement.strip()]


STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {2: _to_2, 3: _to_3, 4: _to_4}
