"""Opening the outbox: in the order in which each step may rely on the one before.

unfinished salvage -> open -> schema -> quick check of the small tables -> keys -> this process's epoch ->
what a dead process was sending -> what a returned key makes readable -> whose machine this is ->
whether the counters are the records'.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from agent import engine, logs
from agent.balance import balance
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.identity import KNOWN, Machine
from agent.outbox import admin, claims, ledger
from agent.outbox.migrations import bring_up_to_date
from agent.outbox.owner import Owner, damage_mark, transaction
from agent.outbox.pages import sound_header
from agent.outbox.rows import millis
from agent.outbox.salvage import Salvaged, lone_log, salvage, unfinished
from agent.outbox.scrub import quick_check
from agent.outbox.space import Ballast
from agent.outbox.vault import SealKeys, Vault
from agent.recall import recalled

log = logs.get(__name__)

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
    #: Counters that said otherwise than the records: what each said, and what is right.
    recounted: dict[str, tuple[int, int]]


def open_all(
    state_dir: Path, keys: SealKeys, clock: Clock, ballast: Ballast, machine: Machine | None
) -> Opened:
    """Open what is in a state directory, salvaging it if need be.

    AgentError: E3140 SQLite too old, E3104 newer schema, E3102 or E3103 when the disk does not let us.
    """
    engine.ensure()
    path = state_dir / "outbox.db"
    salvaged = salvage(path, "marked") if path.exists() and damage_mark(path).exists() else None
    if unfinished(path):
        salvaged = salvage(path, "unfinished")
    elif lone_log(path):
        path.touch(0o600)
        salvaged = salvage(path, "header")
    try:
        return _opened(path, keys, clock, ballast, machine, salvaged)
    except _Damaged as damaged:
        salvaged = salvage(path, damaged.reason)
    try:
        return _opened(path, keys, clock, ballast, machine, salvaged)
    except _Damaged as damaged:
        raise AgentError("E3107", reason=damaged.reason) from None


class _Damaged(Exception):
    """The file is damaged where the agent needs it whole."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _opened(
    path: Path,
    keys: SealKeys,
    clock: Clock,
    ballast: Ballast,
    machine: Machine | None,
    salvaged: Salvaged | None,
) -> Opened:
    owner = None
    try:
        if not sound_header(path):
            raise _Damaged("header")
        owner = Owner(path, ballast.give_up)
        owner.run(partial(bring_up_to_date, path=path))
        wrong = owner.run(quick_check)
        if wrong is not None:
            raise _Damaged(wrong)
        vault, epoch, copied = _begun(owner, keys, clock, machine)
        recounted = owner.run(_recount)
    except BaseException as error:
        if owner is not None:
            owner.close()
        reason = _damage(error)
        if reason is None:
            raise
        raise _Damaged(reason) from None
    return Opened(path.parent, owner, vault, epoch, salvaged, copied, recounted)


def _damage(error: BaseException) -> str | None:
    """Return what an error says of a damaged file, None when it is about something else."""
    if isinstance(error, AgentError):
        damaged = error.code == "E3107" or error.facts.get("pragma") == "page_size"
        return error.facts.get("reason", "page_size") if damaged else None
    # No such table, a value of a wrong type: what SQLite itself does not call damage.
    return str(error) if isinstance(error, sqlite3.Error) else None


def _begun(owner: Owner, keys: SealKeys, clock: Clock, machine: Machine | None) -> tuple[Vault, int, bool]:
    """Begin this process's epoch. Return the vault, the epoch, and whether this is a copy."""
    now = clock.now()
    vault = owner.run(partial(Vault.opened, keys=keys, now=now))
    epoch = owner.run(partial(_new_epoch, now=now))
    owner.run(partial(claims.return_abandoned, now=now))
    owner.run(partial(admin.restore_with_key, vault=vault))
    copied = machine is not None and owner.run(partial(_is_copy, machine=machine))
    for lost, kek in vault.lost.items():
        logs.say(log, "E7301", epoch=lost, expected=kek, received=vault.kek_id)
    if copied:
        logs.say(log, "E3122")
    return vault, epoch, copied


def _new_epoch(connection: sqlite3.Connection, now: datetime) -> int:
    with transaction(connection, durable=True):
        epoch = connection.execute("INSERT INTO epoch (started_at) VALUES (?)", (millis(now),)).lastrowid
        connection.execute("DELETE FROM epoch WHERE id <= ?", (int(epoch or 0) - KEPT_EPOCHS,))
    return int(epoch or 0)


def _recount(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Hold the counters against the records, read as whoever looks at them will, and put them right."""
    with transaction(connection, durable=True):
        recounted = ledger.recount(connection)
    balance(connection)
    if recounted:
        logs.say(log, "W3141", number=len(recounted))
    return recounted


def _is_copy(connection: sqlite3.Connection, machine: Machine) -> bool:
    """Compare this machine with the one that the records belong to; the first one is written down."""
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (KNOWN,)).fetchone()
    known = recalled(None if row is None else row["value"], Machine.from_json)
    if known is not None and machine.is_another_than(known):
        return True
    adopt(connection, machine)
    return False


def adopt(connection: sqlite3.Connection, machine: Machine) -> None:
    """Let the records belong to this machine from now on."""
    known = machine.to_json()
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (KNOWN,)).fetchone()
    if row is None or row["value"] != known:
        with transaction(connection, durable=True):
            connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (KNOWN, known))
