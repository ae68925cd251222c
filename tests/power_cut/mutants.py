"""The bugs that the harness must catch, put back one at a time: each patches the real code."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agent import keys
from agent.outbox import claims, intake, ledger, migrations, owner, retention, startup, vault
from agent.outbox.rows import millis


def _synchronous(level: str) -> None:
    @contextmanager
    def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
        connection.execute(f"PRAGMA synchronous = {level}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    for module in (claims, intake, retention, vault, owner):
        vars(module)["transaction"] = transaction


def _normal() -> None:
    _synchronous("NORMAL")


def _off() -> None:
    _synchronous("OFF")


def _done_before_receipt() -> None:
    """The record is delivered in one commit, its receipt written in the next."""
    real = claims._deliver

    def deliver(connection: sqlite3.Connection, row: sqlite3.Row, receipt: Any, now: datetime) -> None:
        claims._leave(connection, row, "delivered", "delivered", now)
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        kept, claims._leave = claims._leave, lambda *_: None
        try:
            real(connection, row, receipt, now)
        finally:
            claims._leave = kept

    claims._deliver = deliver


def _no_unique() -> None:
    """Nothing but the producer's memory says that a record is there already."""
    real = intake.insert_within

    def insert(connection: sqlite3.Connection, meta: Mapping[str, Any], *rest: Any, **more: Any) -> bool:
        twice = connection.execute("SELECT seq FROM record WHERE id = ?", (meta["id"],)).fetchone()
        if twice is None:
            return real(connection, meta, *rest, **more)
        ledger.accept(connection, str(meta["state"]), 0)
        return True

    intake.insert_within = insert


def _delete_in_two() -> None:
    """The bodies go in one commit, the key and the counters in the next."""

    def erase(connection: sqlite3.Connection, before: datetime, beyond: datetime) -> int:
        times = (millis(before), millis(beyond), 50)
        found = connection.execute(retention._ERASABLE, times).fetchall()
        for row in found:
            connection.execute("DELETE FROM body WHERE record = ?", (row["seq"],))
            with owner.transaction(connection, durable=True):
                connection.execute(
                    "UPDATE record SET wrapped_key = NULL, size = 0 WHERE seq = ?", (row["seq"],)
                )
                ledger.freed(connection, row["size"])
        return len(found)

    retention.erase = erase


def _counted_apart() -> None:
    """The ledger moves in a commit of its own."""
    real = ledger.move

    def move(connection: sqlite3.Connection, before: str, after: str) -> None:
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        real(connection, before, after)

    ledger.move = move


def _key_not_synced() -> None:
    """The key's file is renamed into place before its content is on the disk."""

    def write_key(path: Path, content: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.new")
        draft.write_bytes(content + b"\n")
        draft.chmod(0o400)
        draft.rename(path)
        keys.sync_folder(path.parent)

    keys.write_key = write_key


def _promoted_first() -> None:
    """The next key takes the former one's place before the epoch keys are wrapped under it."""
    real = keys.write_key

    def write_key(path: Path, content: bytes) -> None:
        real(path, content)
        if path.name.endswith(".next"):
            target = path.with_name(path.name.removesuffix(".next"))
            content_again = path.read_bytes().removesuffix(b"\n")
            os.replace(path, target)
            keys.sync_folder(path.parent)
            real(path, content_again)

    keys.write_key = write_key


def _committed_after(step: int) -> Callable[[], None]:
    """What precedes a step of the migration commits by itself."""

    def put_back() -> None:
        real = migrations.STEPS[step]

        def pieces(connection: sqlite3.Connection) -> None:
            real(connection)
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")

        migrations.STEPS[step] = pieces

    return put_back


def _named_afterwards() -> None:
    """The sentences of version 3 become keys in a commit of their own, behind the migration's."""
    real, name_closings = migrations.bring_up_to_date, migrations.name_closings
    vars(migrations)["name_closings"] = lambda _: None

    def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> int:
        version = real(connection, path)
        if version == 3:
            with owner.transaction(connection, durable=True):
                name_closings(connection)
                ledger.rebuild(connection)
        return version

    vars(startup)["bring_up_to_date"] = bring_up_to_date


def _copy_unnamed() -> None:
    """The old file's copy is renamed into place, and the folder is not synced before the file changes."""
    vars(migrations)["sync_folder"] = lambda _: None


@dataclass(frozen=True)
class Mutant:
    """A bug, and the life that meets it: the version of the file it begins with, how much is done to it."""

    put_back: Callable[[], None]
    begins_with: int = 1
    steps: int = 140


MUTANTS = {
    "synchronous NORMAL": Mutant(_normal),
    "synchronous OFF": Mutant(_off),
    "delivered before the receipt is written": Mutant(_done_before_receipt),
    "no UNIQUE": Mutant(_no_unique),
    "bodies deleted in a commit of their own": Mutant(_delete_in_two),
    "ledger moved in a commit of its own": Mutant(_counted_apart),
    "key file renamed before it is synced": Mutant(_key_not_synced),
    "next key in place before the epoch keys are under it": Mutant(_promoted_first),
    "migration from version 1 in pieces": Mutant(_committed_after(2), steps=0),
    "migration from version 3 in pieces": Mutant(_committed_after(4), begins_with=3, steps=0),
    "closings named after the migration": Mutant(_named_afterwards, begins_with=3, steps=0),
    "copy of the old file not named for sure": Mutant(_copy_unnamed, begins_with=3, steps=0),
}
