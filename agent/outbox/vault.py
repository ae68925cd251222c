"""Sealed rows in the database: epoch keys, record keys, bodies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime

from agent.catalogue import AgentError
from agent.outbox import sealing
from agent.outbox.owner import transaction
from agent.outbox.rows import millis
from agent.outbox.sealing import Key, KeyEncryptionKey
from agent.records import FACTS_SCHEMA, PictureKind, Supplement, Verification, supplemented


class Vault:
    """The epoch keys, unwrapped once at the start, and what is sealed below them."""

    def __init__(self, epochs: Mapping[int, Key], current: Key) -> None:
        self._epochs = dict(epochs)
        self._current = current

    @classmethod
    def opened(cls, connection: sqlite3.Connection, kek: KeyEncryptionKey, now: datetime) -> Vault:
        """Unwrap every epoch key, making the first one. AgentError E7301 when they belong to another key."""
        rows = connection.execute("SELECT id, kek_id, wrapped FROM epoch_key ORDER BY id").fetchall()
        if not rows:
            key = Key(sealing.new_secret(), 1)
            with transaction(connection, durable=True):
                connection.execute(
                    "INSERT INTO epoch_key VALUES (?, ?, ?, ?)",
                    (key.epoch, kek.id, kek.wrap(key.epoch, key.secret), millis(now)),
                )
            return cls({key.epoch: key}, key)
        for row in rows:
            if row["kek_id"] != kek.id:
                raise AgentError("E7301", expected=row["kek_id"], received=kek.id)
        epochs = {row["id"]: kek.unwrap(row["id"], row["wrapped"]) for row in rows}
        return cls(epochs, epochs[max(epochs)])

    # --- keys ---------------------------------------------------------------------------------------

    def new_record_key(self, record: str) -> tuple[Key, bytes]:
        """Return a fresh key for a record, and its wrapped form."""
        key = Key(sealing.new_secret(), self._current.epoch)
        return key, sealing.wrap_record_key(self._current, key.secret, record)

    def record_key(self, row: sqlite3.Row) -> Key:
        """Return a record's key. AgentError E7302 when it was erased, E7303 when its epoch key is lost."""
        wrapped: bytes | None = row["wrapped_key"]
        if wrapped is None:
            raise AgentError("E7302", record=row["id"])
        epoch = self._epochs.get(sealing.epoch_of(wrapped))
        if epoch is None:
            raise AgentError("E7303", record=row["id"], key=sealing.epoch_of(wrapped))
        return sealing.unwrap_record_key(epoch, wrapped, row["id"])

    def mark(self, attempt: str, now: datetime) -> bytes:
        """Return the sealed mark of an opened attempt: when it was opened, and no more."""
        return sealing.seal(self._current, now.isoformat().encode(), f"{attempt}|opened|{FACTS_SCHEMA}")

    # --- bodies -------------------------------------------------------------------------------------

    def add(self, connection: sqlite3.Connection, row: sqlite3.Row, kind: str, sealed: bytes) -> None:
        """Insert a sealed row; an equal kind is a later one's business (UNIQUE)."""
        connection.execute(
            "INSERT INTO body (record, kind, sealed) VALUES (?, ?, ?)", (row["seq"], kind, sealed)
        )

    def open(self, connection: sqlite3.Connection, row: sqlite3.Row, kind: str) -> bytes | None:
        """Return a body's plaintext, None when there is none of that kind; AgentError when it is damaged."""
        found = connection.execute(
            "SELECT sealed FROM body WHERE record = ? AND kind = ?", (row["seq"], kind)
        ).fetchone()
        if found is None:
            return None
        return sealing.unseal(self.record_key(row), found["sealed"], label(row["id"], kind))

    def kinds(self, connection: sqlite3.Connection, row: sqlite3.Row) -> set[str]:
        """Return which bodies a record has."""
        rows = connection.execute("SELECT kind FROM body WHERE record = ?", (row["seq"],))
        return {found["kind"] for found in rows}

    def verification(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Verification:
        """Return the facts with their supplements. AgentError E7101 or E3111 when they cannot be read."""
        facts = self.open(connection, row, "facts")
        if facts is None:
            raise AgentError("E3111", record=row["id"])
        try:
            verification = Verification.from_facts(json.loads(facts))
        except (ValueError, KeyError, TypeError) as error:
            raise AgentError("E3111", record=row["id"]) from error
        return supplemented(verification, self.supplements(connection, row))

    def supplements(self, connection: sqlite3.Connection, row: sqlite3.Row) -> list[Supplement]:
        """Return a record's supplements in the order in which they came."""
        kinds = [kind for kind in self.kinds(connection, row) if kind.startswith("supplement:")]
        found = []
        for kind in sorted(kinds, key=lambda kind: int(kind.partition(":")[2])):
            text = json.loads(self.open(connection, row, kind) or b"{}")
            found.append(
                Supplement(text["field"], text["value"], text["who"], datetime.fromisoformat(text["at"]))
            )
        return found

    def seal_supplement(self, row: sqlite3.Row, number: int, supplement: Supplement) -> tuple[str, bytes]:
        """Return kind and sealed row of a supplement."""
        kind = f"supplement:{number}"
        text = json.dumps(
            {
                "field": supplement.name,
                "value": supplement.value,
                "who": supplement.who,
                "at": supplement.at.isoformat(),
            },
            ensure_ascii=False,
        )
        return kind, sealing.seal(self.record_key(row), text.encode(), label(row["id"], kind))


def label(record: str, kind: str) -> str:
    """Return what a sealed row is and whose: authenticated with it."""
    return f"{record}|{kind}|{FACTS_SCHEMA}"


def picture_kind(kind: PictureKind) -> str:
    """Return the body kind of a picture."""
    return f"picture:{kind.value}"
