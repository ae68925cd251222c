"""A look at an outbox that nobody owns, for `status` while the daemon is down: no key, no record touched.

The lock is held meanwhile, so that no daemon starts into the look. What a killed daemon left in the
write-ahead log belongs to the records - the newest of them may stand nowhere else - so beside a log the file
is opened read-only in SQLite's own way: `immutable`, which passes over a log, only where there is none. The
index that SQLite makes anew for a log is a file, and must belong to the service's user: root acts as that.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent import engine
from agent.balance import Balance, balance
from agent.catalogue import AgentError
from agent.identity import KNOWN, Machine, this_machine
from agent.lock import StateLock
from agent.ops.access import as_owner_of
from agent.ops.host import BALLAST
from agent.recall import recalled, recalled_facts

OUTBOX = "outbox.db"
#: Under which setting it is remembered which sealing key the last backup holds.
BACKED_UP = "keys_backup"


@dataclass(frozen=True)
class Glance:
    """What can be seen without a key."""

    balance: Balance
    followups: int
    interrupted: int
    kek: str | None  # of the newest epoch key
    lost_epochs: dict[str, str]  # epoch keys that were still under another key when last seen, and that key
    free: int
    ballast: bool
    settings: dict[str, str] = field(repr=False)

    def stats(self, max_bytes: int) -> dict[str, Any]:
        """Return what `outbox.stats` answers."""
        known = recalled(self.settings.get(KNOWN), Machine.from_json)
        return {
            **vars(self.balance),
            "waiting": self.balance.waiting,
            "given_up": self.balance.given_up,
            "limit": max_bytes,
            "free": self.free,
            "ballast": self.ballast,
            "lost_keys": len(self.lost_epochs),
            "copied": None if known is None else this_machine().is_another_than(known),
            "followups": self.followups,
        }

    def keys(self) -> dict[str, Any]:
        """Return what `keys.state` answers; whose the keys are only the configuration knows."""
        backup = recalled_facts(self.settings.get(BACKED_UP)) or {}
        return {
            "kek": self.kek,
            "backed_up": backup.get("kek") == self.kek,
            "backed_up_at": backup.get("at"),
            "own_files": None,
            "lost_epochs": self.lost_epochs,
            "gcm": None,
        }


def glance(state_dir: Path, patience_s: float = 0.0) -> Glance | None:
    """Look. None where there is no outbox yet.

    AgentError: E3140 SQLite too old, E8301 somebody owns it, E8616 it cannot be looked into, E3102 not on a
    disk that is full, E3107 damaged.
    """
    engine.ensure()
    file = state_dir / OUTBOX
    try:
        with as_owner_of(state_dir):
            if not _there(file):
                return None
            with StateLock(state_dir, patience_s), contextlib.closing(_opened(file)) as connection:
                return _seen(connection, state_dir)
    except PermissionError:
        raise AgentError("E8616", path=state_dir, reason="permission denied") from None
    except (sqlite3.Error, UnicodeDecodeError, IndexError) as error:
        raise _told(file, error) from None


def _there(file: Path) -> bool:
    """Return whether a file exists. PermissionError where that must not even be asked."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _opened(file: Path) -> sqlite3.Connection:
    # Without a log there is nothing to index, and a full disk or another's folder has no room for an index;
    # nobody writes while we hold the lock.
    logged = _there(file.with_name(f"{file.name}-wal"))
    how = "mode=ro" if logged else "immutable=1"
    connection = sqlite3.connect(f"file:{quote(str(file))}?{how}", uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _seen(connection: sqlite3.Connection, state_dir: Path) -> Glance:
    # One moment: every figure from the same state of the file.
    connection.execute("BEGIN")
    rows = connection.execute("SELECT id, kek_id FROM epoch_key ORDER BY id").fetchall()
    kek = rows[-1]["kek_id"] if rows else None
    return Glance(
        balance=balance(connection, _sending(connection)),
        followups=_count(connection, "SELECT count(*) FROM followup WHERE closed_at IS NULL"),
        interrupted=_count(connection, "SELECT count(*) FROM opened"),
        kek=kek,
        lost_epochs={str(row["id"]): row["kek_id"] for row in rows if row["kek_id"] != kek},
        free=shutil.disk_usage(state_dir).free,
        ballast=(state_dir / BALLAST).exists(),
        settings=dict(connection.execute("SELECT name, value FROM setting").fetchall()),
    )


def _sending(connection: sqlite3.Connection) -> str | None:
    """Return the record that the daemon was sending when it went."""
    row = connection.execute("SELECT id FROM record WHERE state = 'sending'").fetchone()
    return None if row is None else str(row["id"])


def _count(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _told(file: Path, error: Exception) -> AgentError:
    """Return SQLite's error under its code; its text never quotes values."""
    text = "malformed text" if isinstance(error, UnicodeDecodeError) else str(error)
    if "malformed" in text or "not a database" in text:
        return AgentError("E3107", reason=text)
    if shutil.disk_usage(file.parent).free == 0:
        return AgentError("E3102", reason=text)
    # Another version's tables, or columns (IndexError); a log whose index may not be made on this disk.
    return AgentError("E8616", path=file, reason=text)
