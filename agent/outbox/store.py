"""The outbox as the rest of the agent sees it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType

from agent import logs
from agent.balance import Balance, balance
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.identity import Machine
from agent.outbox import admin, claims, followups, intake, ledger, retention, rows, startup
from agent.outbox.administration import Administration
from agent.outbox.claims import Claim, Settlement
from agent.outbox.followups import FollowUpRows
from agent.outbox.owner import DiskFull, IoTrouble, transaction
from agent.outbox.rows import HeldRecord, find, millis
from agent.outbox.space import Ballast, Room, free_bytes
from agent.outbox.startup import Opened
from agent.outbox.upkeep import Upkeep
from agent.outbox.vault import SealKeys, picture_kind
from agent.records import Hold, PictureKind, Supplement, Verification

log = logs.get(__name__)

#: Damaged or forged, not understood, incomplete, its key lost: trying again cannot help.
UNREADABLE = frozenset({"E7101", "E7102", "E7303", "E3107", "E3111", "E3121"})
#: Kept since the last time: then the log is moved, before SQLite would let a commit wait for it.
CHECKPOINT_BYTES = 8 * 2**20
#: Room for a record that is only about to be made: two pictures and the facts.
TYPICAL_BYTES = 2**20


class Outbox:
    """An open outbox. Every method is safe from any thread and returns when its commit is done."""

    def __init__(self, opened: Opened, clock: Clock, max_bytes: int, ballast: Ballast) -> None:
        self._state_dir = opened.state_dir
        self._owner = opened.owner
        self._vault = opened.vault
        self._epoch = opened.epoch
        self._clock = clock
        self._max_bytes = max_bytes
        self._ballast = ballast
        self._turn = 0
        self._claimed: str | None = None
        self._paused_until = float("-inf")
        self._busy_at = clock.monotonic()
        self._since_checkpoint = 0
        self.salvaged = opened.salvaged
        self.recounted = opened.recounted
        #: Whether this is a copy of another machine's state directory: it takes records and sends none.
        self.copied = opened.copied
        self.administration = Administration(self._owner, self._vault, clock)
        self.followups = FollowUpRows(self._owner, self._vault, clock)
        self.upkeep = Upkeep(self._state_dir, self._owner, self._vault, clock)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        keys: SealKeys,
        clock: Clock,
        max_bytes: int,
        *,
        ballast: Ballast | None = None,
        machine: Machine | None = None,
    ) -> Outbox:
        """Open, or make, the outbox of a state directory that the caller has locked.

        Records that a dead process was sending are ready again; a damaged file is salvaged. AgentError:
        E3104 newer schema, E3102 or E3103 when the disk does not let us.
        """
        ballast = ballast or Ballast(state_dir)
        return cls(startup.open_all(state_dir, keys, clock, ballast, machine), clock, max_bytes, ballast)

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._owner.close()
        self._vault.close()

    # --- putting ------------------------------------------------------------------------------------

    def put(
        self,
        verification: Verification,
        pictures: Mapping[PictureKind, bytes],
        *,
        person: str,
        holds: Mapping[Hold, str],
        content: str | None = None,
    ) -> None:
        """Keep one verification: when this returns it is durable, and its opened mark is gone.

        One that did not pass stands on the list of follow-ups from the same commit on.

        The same id with the same content again is success; `content` is the digest that tells, where facts
        and pictures themselves do not. AgentError: E3109 the same id with other content, E3101 over the
        quota, E3102 disk full, E3103 the disk failed and the record is not there.
        """
        plain = {picture_kind(kind): picture for kind, picture in pictures.items()}
        plain["facts"] = intake.facts(verification)
        meta, bodies = intake.sealed(
            self._vault,
            {
                "id": verification.id,
                "state": "held" if holds else "ready",
                "person": person,
                "verified_at": millis(verification.verified_at),
                "created_at": millis(self._clock.now()),
                "holds": rows.holds_json(holds),
                **({} if content is None else {"content": content}),
            },
            plain,
        )
        followup = followups.of_verification(self._vault, verification, self._clock.now())
        self.check_room(int(str(meta["size"])))
        try:
            self._owner.run_if_room(
                partial(intake.insert, meta=meta, bodies=bodies, followup=followup, max_bytes=self._max_bytes)
            )
        except IoTrouble:
            # Unknown, not failed: only the reopened file can tell.
            if not self._owner.run(partial(intake.stands, meta=meta)):
                raise
            # What was read back may stand in the kernel's memory alone, and a log whose sync failed once
            # never gets there: moved into the database and synced, or not kept.
            self._owner.run(retention.checkpoint)
        self._busy_at = self._clock.monotonic()
        self._grown(int(str(meta["size"])))

    def content(self, record: str) -> str | None:
        """Return the digest under which a record was put, None when there is no such record."""
        row = self._owner.run(
            lambda c: c.execute("SELECT content FROM record WHERE id = ?", (record,)).fetchone()
        )
        return None if row is None else str(row["content"])

    def _grown(self, size: int) -> None:
        """Have the write-ahead log moved into the database when it has grown: behind the desk's back."""
        self._since_checkpoint += size
        if self._since_checkpoint >= CHECKPOINT_BYTES:
            self._since_checkpoint = 0
            with contextlib.suppress(AgentError):  # closing: that moves it as well
                self._owner.hand_in(retention.move_log)

    def check_room(self, size: int) -> None:
        """Refuse a new record while the disk's last room is needed for what was accepted before.

        AgentError E3102.
        """
        free = free_bytes(self._state_dir)
        if free < self._ballast.needed() + 2 * size:
            raise DiskFull(reason=f"{free} bytes free")

    def room(self) -> Room:
        """Return how full it is."""
        return Room(
            used=self._owner.run(ledger.used),
            limit=self._max_bytes,
            free=free_bytes(self._state_dir),
            ballast=self._ballast.stands(),
        )

    def accepting(self) -> None:
        """Return when a new record would be taken now. AgentError E3101 or E3102: the desk must be told."""
        self.check_room(TYPICAL_BYTES)
        used = self._owner.run(ledger.used)
        if used + TYPICAL_BYTES > self._max_bytes:
            raise AgentError("E3101", used=used, limit=self._max_bytes)

    def idle_s(self) -> float:
        """Return for how long nobody has put or claimed anything."""
        return self._clock.monotonic() - self._busy_at

    @property
    def damaged(self) -> bool:
        """Return whether a damaged page was met: the process should end, the next start salvages."""
        return self._owner.damaged

    def open_attempt(self, attempt: str) -> None:
        """Leave the sealed mark that an attempt was opened at the desk."""
        mark = self._vault.mark(attempt, self._clock.now())
        values = (attempt, self._epoch, mark)
        self._owner.run(
            lambda connection: _write(connection, "INSERT OR REPLACE INTO opened VALUES (?, ?, ?)", values)
        )

    def close_attempt(self, attempt: str) -> None:
        """Take the mark away: the attempt ended without a record."""
        self._owner.run(lambda connection: _write(connection, "DELETE FROM opened WHERE id = ?", (attempt,)))

    def interrupted(self) -> list[str]:
        """Return the attempts that an earlier process opened and never ended."""
        found = self._owner.run(
            lambda connection: connection.execute(
                "SELECT id FROM opened WHERE epoch <> ?", (self._epoch,)
            ).fetchall()
        )
        return [row["id"] for row in found]

    def clear_interrupted(self) -> None:
        """Forget the interrupted attempts: the registrar was told."""
        self._owner.run(
            lambda connection: _write(connection, "DELETE FROM opened WHERE epoch <> ?", (self._epoch,))
        )

    # --- sending ------------------------------------------------------------------------------------

    def claim(self, now: datetime) -> Claim | None:
        """Claim the next due record; None when nothing is due. Unreadable ones are quarantined on the way."""
        if self.copied:
            raise AgentError("E3122")
        if self._clock.monotonic() < self._paused_until:
            return None
        while True:
            taken = self._owner.run(partial(claims.take, epoch=self._epoch, now=now, turn=self._turn))
            if taken is None:
                return None
            self._turn += 1
            self._busy_at = self._clock.monotonic()
            row, token = taken
            self._claimed = row["id"]
            with self.guarded(row["id"]):
                return self._opened(row, token, row["attempts"] + 1)

    def pause(self, seconds: float) -> None:
        """Claim nothing for so long: what is being handed over must not be sent from here as well."""
        self._paused_until = self._clock.monotonic() + seconds

    def upcoming(self, now: datetime, most: int) -> list[str]:
        """Return the records that will probably be claimed next, so that their bodies can be made before."""
        return self._owner.run(partial(claims.upcoming, now=now, turn=self._turn, most=most))

    def peek(self, record: str) -> Claim:
        """Return what a record's next claim would be, whatever state it is in; it is no claim."""
        row = self._owner.run(partial(find, record=record))
        return self._opened(row, "", row["attempts"] + 1)

    def _opened(self, row: sqlite3.Row, token: str, attempts: int) -> Claim:
        def read(connection: sqlite3.Connection) -> Claim:
            return Claim(
                id=row["id"],
                token=token,
                attempts=attempts,
                verification=self._vault.whole(connection, row),
                unknown=bool(row["unknown"]),
                kept_conventions=claims.kept_conventions(connection, row),
                too_large=claims.too_large(connection, row),
                size=row["size"],
                picture=partial(self.picture, row["id"]),
            )

        return self._owner.run(read)

    @contextmanager
    def guarded(self, record: str) -> Iterator[None]:
        """Set a record that proves unreadable within the block aside - kept, counted, told - and go on.

        One bad record never blocks another. Whatever else goes wrong passes through.
        """
        try:
            yield
        except AgentError as error:
            if error.code not in UNREADABLE:
                raise
            self._owner.run(partial(admin.quarantine, record=record, code=error.code))
            logs.say(log, "E3113", record=record, cause=error.code)

    def note_attempt(
        self,
        claim: Claim,
        *,
        request_id: str,
        conventions_fingerprint: str,
        conventions_json: str,
        sm3_hex: str,
        length: int,
    ) -> None:
        """Write down what is about to be sent. AgentError E3112 when the claim is no longer ours."""
        values = {
            "request_id": request_id,
            "conventions_fingerprint": conventions_fingerprint,
            "conventions_json": conventions_json,
            "sm3_hex": sm3_hex,
            "length": length,
        }
        self._owner.run(partial(claims.note, claim=claim, now=self._clock.now(), values=values))

    def settle(self, claim: Claim, settlement: Settlement) -> None:
        """Write down what became of a claim. AgentError E3112 when it is no longer ours."""
        self._owner.run(partial(claims.settle, claim=claim, settlement=settlement, now=self._clock.now()))

    def return_abandoned(self) -> int:
        """Put back what nobody is sending any more; only the one sending loop may call this."""
        return self._owner.run(partial(claims.return_abandoned, now=self._clock.now()))

    # --- completing ---------------------------------------------------------------------------------

    def held(self) -> list[HeldRecord]:
        """Return every held record, oldest first."""
        return self._owner.run(rows.held)

    def verification(self, record: str) -> Verification:
        """Return a record's facts with their supplements."""
        return self._owner.run(lambda c: self._vault.verification(c, find(c, record)))

    def picture(self, record: str, kind: PictureKind) -> bytes | None:
        """Return one picture, None when the record has none of that kind."""
        sealed = self._owner.run(lambda c: self._vault.sealed(c, find(c, record), picture_kind(kind)))
        # Opened here: to the owner of the connection, whom the desk may be waiting for, it is long.
        return None if sealed is None else sealed.opened()

    def picture_kinds(self, record: str) -> set[PictureKind]:
        """Return which pictures a record has."""
        kinds = self._owner.run(lambda c: self._vault.kinds(c, find(c, record)))
        return {kind for kind in PictureKind if picture_kind(kind) in kinds}

    def supplement(self, record: str, supplement: Supplement) -> None:
        """Append a supplement to a held or parked record. AgentError E3114 in any other state."""
        self._owner.run(partial(admin.supplement, vault=self._vault, record=record, supplement=supplement))

    def add_picture(self, record: str, kind: PictureKind, picture: bytes) -> None:
        """Append a picture that a held record lacks.

        AgentError E3114 in any other state, E3102 while the last room is for what was accepted before.
        """
        self.check_room(len(picture))
        self._owner.run_if_room(
            partial(admin.add_picture, vault=self._vault, record=record, kind=kind, picture=picture)
        )

    def rehold(self, record: str, holds: Mapping[Hold, str]) -> None:
        """Say what a held record still lacks; when that is nothing, it is ready."""
        self._owner.run(partial(admin.rehold, record=record, holds=holds))

    # --- whatever waits -----------------------------------------------------------------------------

    def make_due(self) -> None:
        """Let every ready record go at once, whatever back-off it had."""
        self._owner.run(
            lambda c: _write(c, "UPDATE record SET next_attempt_at = 0 WHERE state = ?", ("ready",))
        )

    def counts(self) -> Balance:
        """Return the balance."""
        return self._owner.run(partial(balance, sending=self._claimed))

    def setting(self, name: str) -> str | None:
        """Return a small value kept beside the records."""
        row = self._owner.run(
            lambda c: c.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        )
        return None if row is None else str(row["value"])

    def set_setting(self, name: str, value: str, *, durable: bool = False) -> None:
        """Keep a small value; durable at once if asked, else with the next record at the latest."""
        sql = "INSERT OR REPLACE INTO setting VALUES (?, ?)"
        self._owner.run(lambda c: _write(c, sql, (name, value), durable=durable))


def _write(
    connection: sqlite3.Connection, sql: str, values: tuple[object, ...], *, durable: bool = False
) -> None:
    with transaction(connection, durable=durable):
        connection.execute(sql, values)
