"""Opening the outbox: in the order in which each step may rely on the one before.

unfinished salvage -> open -> schema -> quick check of the small tables -> keys -> this process's epoch ->
what a dead process was sending -> what a returned key makes readable -> whose machine this is.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from agent import logs
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.outbox import admin, claims
from agent.outbox.identity import Machine
from agent.outbox.migrations import bring_up_to_date
from agent.outbox.owner import Owner, damage_mark, transaction
from agent.outbox.rows import millis
from agent.outbox.salvage import Salvaged, salvage, unfinished
from agent.outbox.scrub import quick_check
from agent.outbox.space import Ballast
from agent.outbox.vault import SealKeys, Vault

log = logs.get(__name__)

MACHINE = "machine"
#: Epochs of processes long gone; enough for anybody who looks.
KEPT_EPOCHS = 100


@dataclass(frozen=True)
class Opened:
    """What an open outbox works with."""

    state_dir: Path
    owner: Owner
    vault: Vault
    epoch: int
    salvaged: Salvaged | None
    copied: bool


def open_all(
    state_dir: Path, keys: SealKeys, clock: Clock, ballast: Ballast, machine: Machine | None
) -> Opened:
    """Open what is in a state directory, salvaging it if need be."""
    path = state_dir / "outbox.db"
    owner, salvaged = _sound_owner(path, ballast)
    try:
        now = clock.now()
        vault = owner.run(partial(Vault.opened, keys=keys, now=now))
        epoch = owner.run(partial(_new_epoch, now=now))
        owner.run(partial(claims.return_abandoned, now=now))
        owner.run(partial(admin.restore_with_key, vault=vault))
        copied = machine is not None and owner.run(partial(_is_copy, machine=machine))
    except BaseException:
        owner.close()
        raise
    for lost, kek in vault.lost.items():
        logs.say(log, "E7301", epoch=lost, expected=kek, received=vault.kek_id)
    if copied:
        logs.say(log, "E3122")
    return Opened(state_dir, owner, vault, epoch, salvaged, copied)


def _sound_owner(path: Path, ballast: Ballast) -> tuple[Owner, Salvaged | None]:
    """Return the owner of a file whose small tables are sound, and what was salvaged on the way."""
    salvaged = None
    if unfinished(path) or (path.exists() and damage_mark(path).exists()):
        salvaged = salvage(path, "marked")
    for last in (False, True):
        owner, wrong = _checked_owner(path, ballast)
        if owner is not None:
            return owner, salvaged
        if last:
            break
        salvaged = salvage(path, wrong)
    raise AgentError("E3107", reason=wrong)


def _checked_owner(path: Path, ballast: Ballast) -> tuple[Owner | None, str]:
    """Return the owner of a sound file; else None and what is wrong."""
    owner = None
    try:
        owner = Owner(path, ballast.give_up)
        owner.run(partial(bring_up_to_date, path=path))
        wrong = owner.run(quick_check)
    except AgentError as error:
        if owner is not None:
            owner.close()
        if not (error.code == "E3107" or error.facts.get("pragma") == "page_size"):
            raise
        return None, error.facts.get("reason", "page_size")
    except sqlite3.Error as error:
        # No such table, no such column: the schema's own page is damaged.
        if owner is not None:
            owner.close()
        return None, str(error)
    if wrong is None:
        return owner, ""
    owner.close()
    return None, wrong


def _new_epoch(connection: sqlite3.Connection, now: datetime) -> int:
    with transaction(connection, durable=True):
        epoch = connection.execute("INSERT INTO epoch (started_at) VALUES (?)", (millis(now),)).lastrowid
        connection.execute("DELETE FROM epoch WHERE id <= ?", (int(epoch or 0) - KEPT_EPOCHS,))
    return int(epoch or 0)


def _is_copy(connection: sqlite3.Connection, machine: Machine) -> bool:
    """Compare this machine with the one that the records belong to; the first one is written down."""
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (MACHINE,)).fetchone()
    if row is not None and machine.is_another_than(Machine.from_json(row["value"])):
        return True
    adopt(connection, machine)
    return False


def adopt(connection: sqlite3.Connection, machine: Machine) -> None:
    """Let the records belong to this machine from now on."""
    known = machine.to_json()
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (MACHINE,)).fetchone()
    if row is None or row["value"] != known:
        with transaction(connection, durable=True):
            connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (MACHINE, known))
