"""Is what a power cut left still the truth? The agent's own code opens it; the marks say what it promised.

A cut is an image of the disk and the promises made by then. Each image is opened once: the same bytes under the
same names tell the same, whenever they were cut; what they tell is held against the promises of every cut.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from outbox_support import HandClock

from agent.catalogue import AgentError
from agent.ownership import Ownership, owning
from power_cut import haste
from power_cut.cuts import Disk, Image, journal, replayed
from power_cut.workload import settings, small

#: What happened, to which record, and more of it.
Mark = tuple[str, ...]


@dataclass(frozen=True)
class Life:
    """One run: its journal, the state that it began with and what that promised, and where it lived."""

    log: Path
    base: Path
    state_dir: Path
    begun: list[Mark]


@dataclass
class Promises:
    """What an outbox has acknowledged."""

    kept: set[str] = field(default_factory=set)
    attempted: set[str] = field(default_factory=set)
    amending: int = 0
    may_be_gone: bool = False
    states: dict[str, str] = field(default_factory=dict)
    closings: dict[str, str] = field(default_factory=dict)
    cases: dict[str, str] = field(default_factory=dict)

    def hear(self, what: str, record: str = "", *more: str) -> None:
        """Take one mark in."""
        if what == "put":
            self.kept.add(record)
        if what in {"put", "putting"}:
            self.attempted.add(record)
        if what in {"delivered", "discarded"}:
            self.states[record] = what
        if what in {"followed", "closed"}:
            self.cases[record] = what
        if what == "closed as":
            self.closings[record] = more[0]
        self.amending += what == "amending"
        self.may_be_gone |= what == "expiring"


@dataclass(frozen=True)
class Seen:
    """What one image tells, and what is wrong with it whatever had been promised."""

    faults: tuple[str, ...]
    accepted: int = 0
    expired: int = 0
    states: dict[str, str] = field(default_factory=dict)
    closings: dict[str, str | None] = field(default_factory=dict)
    cases: dict[str, int] = field(default_factory=dict)  # id -> whether it is closed, and forgotten

    def held_against(self, promises: Promises) -> list[str]:
        """Return what is wrong; nothing, if the promises hold."""
        faults = list(self.faults)
        if any(fault.startswith("does not open") for fault in faults):
            return faults
        most = len(promises.attempted) + promises.amending
        if not len(promises.kept) <= self.accepted <= most:
            faults.append(f"accepted {self.accepted} of {len(promises.kept)} kept, {most} attempted")
        missing = promises.kept - set(self.states)
        if len(missing) > (self.expired if promises.may_be_gone else 0):
            faults.append(f"{len(missing)} kept records are gone")
        for record, state in promises.states.items():
            if self.states.get(record, state) != state:
                faults.append(f"{state} became {self.states[record]}")
        for record, reason in promises.closings.items():
            if self.closings.get(record, reason) != reason:
                faults.append(f"closed as {reason} became {self.closings[record]}")
        for case, what in promises.cases.items():
            closed = self.cases.get(case, 1 if promises.may_be_gone else None)
            if closed is None or (what == "closed" and not closed):
                faults.append(f"a case {what} is {'gone' if closed is None else 'open again'}")
        return faults


def seen(image: Image, state_dir: Path, folder: Path) -> Seen:
    """Open one image with the agent's own code, as its next start does."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    image.write(state_dir, folder)
    try:
        with owning(_settings(folder), HandClock()) as own:
            return _told(own, folder)
    except (AgentError, sqlite3.Error, OSError, ValueError) as error:
        return Seen((f"does not open: {type(error).__name__} {getattr(error, 'code', '')} {error}",))


_settings = cache(settings)


def _told(own: Ownership, folder: Path) -> Seen:
    counts = own.outbox.counts()
    faults = own.outbox._owner.run(_row_faults)
    if own.outbox.salvaged or counts.quarantined or own.outbox.administration.lost_keys:
        faults.append(f"salvaged, {counts.quarantined} quarantined, keys lost")
    # The start puts wrong counters right, so that they must be asked what they said before.
    if counts.difference or own.outbox.recounted:
        faults.append(f"balance {counts.difference} {own.outbox.recounted}")
    faults += [f"{one.record}: {one.code}" for one in own.outbox.administration.check() if one.code]
    copy = folder / "outbox.db.before-4"
    faults += _copy_faults(copy, copy.read_bytes()) if copy.exists() else ["there is no copy of the old file"]
    rows = own.outbox._owner.run(lambda c: c.execute("SELECT id, state, closed_as FROM record").fetchall())
    cases = own.outbox._owner.run(
        lambda c: c.execute("SELECT id, wrapped_key IS NULL FROM followup").fetchall()
    )
    return Seen(
        tuple(faults),
        counts.accepted,
        own.outbox.upkeep.expired(),
        {row["id"]: row["state"] for row in rows},
        {row["id"]: row["closed_as"] for row in rows},
        dict(map(tuple, cases)),
    )


#: How many rows break a rule that holds in each committed state.
_RULES = {
    "bytes": "SELECT count(*) FROM record r WHERE size <> "
    "(SELECT coalesce(sum(length(sealed)), 0) FROM body WHERE record = r.seq)",
    "bytes counted": "SELECT abs(bytes - (SELECT coalesce(sum(size), 0) FROM record)) FROM ledger",
    "delivered without receipt": "SELECT count(*) FROM record r WHERE state = 'delivered' "
    "AND NOT EXISTS (SELECT 1 FROM receipt WHERE record = r.seq)",
    "twice": "SELECT count(*) - count(DISTINCT id) FROM record",
    "discarded without a reason": "SELECT count(*) FROM record "
    "WHERE (state = 'discarded') <> (closed_as IS NOT NULL)",
    "gone on counted": "SELECT sum(abs(superseded - (SELECT count(*) FROM record WHERE closed_as = 'superseded')) "
    "+ abs(moved - (SELECT count(*) FROM record WHERE closed_as = 'moved'))) FROM ledger "
    "WHERE expired_discarded = 0",
}


def _row_faults(connection: sqlite3.Connection) -> list[str]:
    broken = {rule: connection.execute(sql).fetchone()[0] for rule, sql in _RULES.items()}
    return [f"{rule}: {number}" for rule, number in broken.items() if number]


@cache
def _copy_faults(path: Path, content: bytes) -> list[str]:
    """Say what is wrong with the copy beside a migrated file: every life begins with an old one."""
    copy = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
    try:
        sound = copy.execute("PRAGMA quick_check").fetchone()[0]
        records = copy.execute("SELECT count(*) FROM record").fetchone()[0]
        return [] if sound == "ok" and records else [f"the copy of the old file: {sound}, {records} records"]
    except sqlite3.Error as error:
        return [f"the copy of the old file: {error}"]
    finally:
        copy.close()


@dataclass(frozen=True)
class Judged:
    """How many cuts were made, how many different images of the disk they left, and what was found wrong."""

    cuts: int
    images: int
    faults: list[str]

    @classmethod
    def together(cls, parts: Iterable[Judged]) -> Judged:
        """Return the sum; each part's images are those of a life of its own."""
        cuts, images, faults = 0, 0, list[str]()
        for part in parts:
            cuts, images, faults = cuts + part.cuts, images + part.images, faults + part.faults
        return cls(cuts, images, faults)


def judged(life: Life, cuts: int, seed: int, scratch: Path) -> Judged:
    """Make that many cuts at random places of a life. Each fault is told with its place."""
    small()
    haste.make()
    rng, ops, faults = random.Random(seed), journal(life.log), list[str]()
    places = sorted(rng.randrange(len(ops) + 1) for _ in range(cuts))
    disk, promises, known = Disk.of(life.base, life.state_dir), Promises(), dict[bytes, Seen]()
    for mark in life.begun:
        promises.hear(*mark)
    for place, marks in replayed(disk, ops, places):
        for said in marks:
            promises.hear(*json.loads(said))
        image = disk.cut(rng)
        digest = image.digest
        if digest not in known:
            known[digest] = seen(image, life.state_dir, scratch / "cut")
        faults += [f"cut at {place}: {fault}" for fault in known[digest].held_against(promises)]
    return Judged(cuts, len(known), faults)
