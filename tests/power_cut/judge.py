"""Is what a power cut left still the truth? The agent's own code opens it; the marks say what it promised."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from outbox_support import HandClock

from agent.catalogue import AgentError
from agent.ownership import Ownership, owning
from power_cut.cuts import Disk, journal, replayed
from power_cut.workload import settings, small


def faults_of(folder: Path, state_dir: Path, marks: list[bytes]) -> list[str]:
    """Open one disk after a cut. Return what is wrong with it; nothing, if the promises hold."""
    image = folder / str(state_dir).lstrip("/")
    image.mkdir(parents=True, exist_ok=True)
    try:
        with owning(settings(image), HandClock()) as own:
            return _promises(own, [json.loads(mark) for mark in marks])
    except (AgentError, sqlite3.Error, OSError, ValueError) as error:
        return [f"does not open: {type(error).__name__} {getattr(error, 'code', '')} {error}"]


def _promises(own: Ownership, marks: list[list[str]]) -> list[str]:
    counts = own.outbox.counts()
    rows = own.outbox._owner.run(_rows)
    kept = {mark[1] for mark in marks if mark[0] == "put"}
    attempted = {mark[1] for mark in marks if mark[0] == "putting"} | kept
    amending = sum(mark[0] == "amending" for mark in marks)
    may_be_gone = any(mark[0] == "expiring" for mark in marks)
    faults = []
    if own.outbox.salvaged or counts.quarantined or own.outbox.administration.lost_keys:
        faults.append(f"salvaged, {counts.quarantined} quarantined, keys lost")
    if counts.difference or rows.bytes_off or rows.no_receipt or rows.twice:
        faults.append(f"balance {counts.difference} {rows.bytes_off} {rows.no_receipt} {rows.twice}")
    if not len(kept) <= counts.accepted - _FIRST <= len(attempted) + amending:
        faults.append(f"accepted {counts.accepted - _FIRST} of {len(kept)} kept, {len(attempted)} attempted")
    missing = kept - set(rows.states)
    if len(missing) > (own.outbox.upkeep.expired() if may_be_gone else 0):
        faults.append(f"{len(missing)} kept records are gone")
    for what, record, *_ in (mark for mark in marks if mark[0] in {"delivered", "discarded"}):
        if rows.states.get(record, what) != what:
            faults.append(f"{what} became {rows.states[record]}")
    for what, case, *_ in (mark for mark in marks if mark[0] in {"followed", "closed"}):
        closed = rows.cases.get(case, 1 if may_be_gone else None)
        if closed is None or (what == "closed" and not closed):
            faults.append(f"a case {what} is {'gone' if closed is None else 'open again'}")
    faults += [f"{one.record}: {one.code}" for one in own.outbox.administration.check() if one.code]
    return faults


#: Records of the outbox of version 1 that every life begins with.
_FIRST = 3


@dataclass(frozen=True)
class _Rows:
    states: dict[str, str]
    bytes_off: int
    no_receipt: int
    twice: int
    cases: dict[str, int]  # id -> whether it is closed, and forgotten


def _rows(connection: sqlite3.Connection) -> _Rows:
    one = "SELECT count(*) FROM record r WHERE "
    bodies = "(SELECT coalesce(sum(length(sealed)), 0) FROM body WHERE record = r.seq)"
    off = connection.execute(f"{one} size <> {bodies}").fetchone()[0]
    ledger = connection.execute("SELECT bytes - (SELECT sum(size) FROM record) FROM ledger").fetchone()[0]
    unproved = "state = 'delivered' AND NOT EXISTS (SELECT 1 FROM receipt WHERE record = r.seq)"
    twice = "SELECT count(*) - count(DISTINCT id) FROM record"
    return _Rows(
        states=dict(connection.execute("SELECT id, state FROM record").fetchall()),
        bytes_off=int(off) + abs(int(ledger or 0)),
        no_receipt=int(connection.execute(one + unproved).fetchone()[0]),
        twice=int(connection.execute(twice).fetchone()[0]),
        cases=dict(connection.execute("SELECT id, wrapped_key IS NULL FROM followup").fetchall()),
    )


def judged(log: Path, base: Path, state_dir: Path, cuts: int, seed: int, scratch: Path) -> list[str]:
    """Make that many cuts at random places of a run. Return the faults, each with its place."""
    small()
    rng, ops, faults = random.Random(seed), journal(log), list[str]()
    places = sorted(rng.randrange(len(ops) + 1) for _ in range(cuts))
    disk = Disk.of(base, state_dir)
    for place, marks in replayed(disk, ops, places):
        folder = scratch / "cut"
        shutil.rmtree(folder, ignore_errors=True)
        disk.cut(rng, folder)
        faults += [f"cut at {place}: {fault}" for fault in faults_of(folder, state_dir, marks)]
    return faults
