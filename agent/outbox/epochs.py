"""Epoch keys as they are kept: a row each, and a copy of it on another page of the file.

Every record of an epoch opens by these few bytes: one bad sector under them alone would take all along.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field

from agent.outbox import sealing
from agent.recall import recalled

_COPY = "epoch_key:"


@dataclass(frozen=True)
class Wrapped:
    """One epoch key under a key-encryption key."""

    kek_id: str
    secret: bytes = field(repr=False)


def kept(connection: sqlite3.Connection) -> dict[int, list[Wrapped]]:
    """Return what there is of each epoch key: its row first, then the copy."""
    found: defaultdict[int, list[Wrapped]] = defaultdict(list)
    for row in connection.execute("SELECT id, kek_id, wrapped FROM epoch_key ORDER BY id"):
        found[row["id"]].append(Wrapped(row["kek_id"], row["wrapped"]))
    copies = connection.execute("SELECT name, value FROM setting WHERE name GLOB ?", (f"{_COPY}*",))
    for row in copies.fetchall():
        copy = recalled(row["value"], _read)
        # A rotten number would make an epoch that never was.
        if copy is not None and row["name"] == f"{_COPY}{sealing.epoch_of(copy.secret)}":
            found[sealing.epoch_of(copy.secret)].append(copy)
    return dict(found)


def keep(connection: sqlite3.Connection, epoch: int, wrapped: Wrapped, created_at: int = 0) -> None:
    """Write row and copy within the caller's transaction; a row that is there keeps its time."""
    connection.execute(
        "INSERT INTO epoch_key VALUES (?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET kek_id = excluded.kek_id, wrapped = excluded.wrapped",
        (epoch, wrapped.kek_id, wrapped.secret, created_at),
    )
    connection.execute(
        "INSERT OR REPLACE INTO setting VALUES (?, ?)",
        (f"{_COPY}{epoch}", f"{wrapped.kek_id}:{wrapped.secret.hex()}"),
    )


def _read(text: str) -> Wrapped:
    kek_id, colon, secret = text.partition(":")
    if not colon or len(secret) < 2 * sealing.KEY_BYTES:
        raise ValueError(text)
    return Wrapped(kek_id, bytes.fromhex(secret))
