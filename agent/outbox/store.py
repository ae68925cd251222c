"""The outbox as the rest of the agent sees it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from importlib import resources
from pathlib import Path
from types import TracebackType

from agent import logs, sm
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.outbox import admin, claims, ledger, rows, sealing
from agent.outbox.claims import Claim, Settlement
from agent.outbox.ledger import Balance
from agent.outbox.owner import IoTrouble, Owner, transaction
from agent.outbox.rows import AttemptRow, HeldRecord, ReceiptRow, RecordRow, find, millis
from agent.outbox.sealing import KeyEncryptionKey
from agent.outbox.vault import Vault, label, picture_kind
from agent.records import Hold, PictureKind, Supplement, Verification

log = logs.get(__name__)

SCHEMA_VERSION = 1
#: Damaged or forged, not understood, its key lost: trying again cannot help.
UNREADABLE = frozenset({"E7101", "E7102", "E7303", "E3111"})


class Outbox:
    """An open outbox. Every method is safe from any thread and returns when its commit is done."""

    def __init__(self, owner: Owner, vault: Vault, epoch: int, clock: Clock, max_bytes: int) -> None:
        self._owner = owner
        self._vault = vault
        self._epoch = epoch
        self._clock = clock
        self._max_bytes = max_bytes
        self._turn = 0

    @classmethod
    def open(cls, state_dir: Path, seal_key: bytes, clock: Clock, max_bytes: int) -> Outbox:
        """Open, or make, the outbox of a state directory that the caller has locked.

        Records that a dead process was sending are ready again. AgentError: E3104 newer schema, E7301
        sealed under another key, E3107 damaged file.
        """
        owner = Owner(state_dir / "outbox.db")
        try:
            owner.run(_set_up)
            kek = KeyEncryptionKey.derived(seal_key)
            vault = owner.run(lambda connection: Vault.opened(connection, kek, clock.now()))
            epoch = owner.run(partial(_new_epoch, now=clock.now()))
            outbox = cls(owner, vault, epoch, clock, max_bytes)
            outbox.return_abandoned()
            difference = outbox.counts().difference
        except BaseException:
            owner.close()
            raise
        if difference:
            logs.say(log, "E3108", difference=difference)
        return outbox

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._owner.close()

    # --- putting ------------------------------------------------------------------------------------

    def put(
        self,
        verification: Verification,
        pictures: Mapping[PictureKind, bytes],
        *,
        person: str,
        holds: Mapping[Hold, str],
    ) -> None:
        """Keep one verification: when this returns it is durable, and its opened mark is gone.

        The same id with the same content again is success. AgentError: E3109 the same id with other
        content, E3101 over the quota, E3102 disk full, E3103 the disk failed and the record is not there.
        """
        plain = {picture_kind(kind): picture for kind, picture in pictures.items()}
        plain["facts"] = json.dumps(verification.to_facts(), ensure_ascii=False, sort_keys=True).encode()
        content = _content_sm3(plain)
        key, wrapped = self._vault.new_record_key(verification.id)
        bodies = {kind: sealing.seal(key, body, label(verification.id, kind)) for kind, body in plain.items()}
        meta = {
            "id": verification.id,
            "state": "held" if holds else "ready",
            "person": person,
            "verified_at": millis(verification.verified_at),
            "created_at": millis(self._clock.now()),
            "holds": rows.holds_json(holds),
            "size": sum(len(body) for body in bodies.values()),
            "content_sm3": content,
            "wrapped_key": wrapped,
        }
        try:
            self._owner.run(partial(_insert, meta=meta, bodies=bodies, max_bytes=self._max_bytes))
        except IoTrouble:
            # Unknown, not failed: only the reopened file can tell.
            if not self._owner.run(partial(_stands, record=verification.id, content=content)):
                raise

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
        while True:
            taken = self._owner.run(partial(claims.take, epoch=self._epoch, now=now, turn=self._turn))
            if taken is None:
                return None
            self._turn += 1
            row, token = taken
            with self.guarded(row["id"]):
                return Claim(
                    id=row["id"],
                    token=token,
                    attempts=row["attempts"] + 1,
                    verification=self._owner.run(partial(self._vault.verification, row=row)),
                    kept_conventions=self._owner.run(partial(claims.kept_conventions, row=row)),
                    picture=partial(self.picture, row["id"]),
                )

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
        return self._owner.run(lambda c: self._vault.open(c, find(c, record), picture_kind(kind)))

    def picture_kinds(self, record: str) -> set[PictureKind]:
        """Return which pictures a record has."""
        kinds = self._owner.run(lambda c: self._vault.kinds(c, find(c, record)))
        return {kind for kind in PictureKind if picture_kind(kind) in kinds}

    def supplement(self, record: str, supplement: Supplement) -> None:
        """Append a supplement to a held or parked record. AgentError E3114 in any other state."""
        self._owner.run(partial(admin.supplement, vault=self._vault, record=record, supplement=supplement))

    def add_picture(self, record: str, kind: PictureKind, picture: bytes) -> None:
        """Append a picture that a held record lacks. AgentError E3114 in any other state."""
        self._owner.run(
            partial(admin.add_picture, vault=self._vault, record=record, kind=kind, picture=picture)
        )

    def rehold(self, record: str, holds: Mapping[Hold, str]) -> None:
        """Say what a held record still lacks; when that is nothing, it is ready."""
        self._owner.run(partial(admin.rehold, record=record, holds=holds))

    # --- administration -----------------------------------------------------------------------------

    def retry(self, record: str) -> None:
        """Send a parked record again. AgentError E3114 for a state that does not allow it."""
        self._owner.run(partial(admin.retry, record=record))

    def make_due(self) -> None:
        """Let every ready record go at once, whatever back-off it had."""
        self._owner.run(
            lambda c: _write(c, "UPDATE record SET next_attempt_at = 0 WHERE state = ?", ("ready",))
        )

    def purge(self, now: datetime, keep_delivered: timedelta) -> int:
        """Erase keys and bodies of what was delivered longer ago. Return how many records that were."""
        return self._owner.run(partial(admin.purge, before=now - keep_delivered))

    def counts(self) -> Balance:
        """Return the balance."""
        return self._owner.run(ledger.balance)

    def row(self, record: str) -> RecordRow:
        """Return one record as lists show it."""
        return self._owner.run(lambda c: rows.record_row(find(c, record)))

    def list_records(self, state: str | None, limit: int) -> list[RecordRow]:
        """Return the newest records."""
        return self._owner.run(partial(rows.list_records, state=state, limit=limit))

    def attempts(self, record: str) -> list[AttemptRow]:
        """Return every attempt to send a record."""
        return self._owner.run(partial(rows.attempts, record=record))

    def receipts(self, limit: int) -> list[ReceiptRow]:
        """Return the newest receipts."""
        return self._owner.run(partial(rows.receipts, limit=limit))

    def setting(self, name: str) -> str | None:
        """Return a small value kept beside the records."""
        row = self._owner.run(
            lambda c: c.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        )
        return None if row is None else str(row["value"])

    def set_setting(self, name: str, value: str) -> None:
        """Keep a small value; durable with the next record at the latest."""
        self._owner.run(lambda c: _write(c, "INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value)))


def _set_up(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise AgentError("E3104", received=version, expected=SCHEMA_VERSION)
    if version == 0:
        schema = resources.files("agent.outbox").joinpath("schema.sql").read_text("utf-8")
        connection.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _new_epoch(connection: sqlite3.Connection, now: datetime) -> int:
    with transaction(connection, durable=True):
        epoch = connection.execute("INSERT INTO epoch (started_at) VALUES (?)", (millis(now),)).lastrowid
    return int(epoch or 0)


def _insert(
    connection: sqlite3.Connection, meta: Mapping[str, object], bodies: Mapping[str, bytes], max_bytes: int
) -> None:
    with transaction(connection, durable=True):
        connection.execute("DELETE FROM opened WHERE id = ?", (meta["id"],))
        there = connection.execute("SELECT content_sm3 FROM record WHERE id = ?", (meta["id"],)).fetchone()
        if there is not None:
            if there["content_sm3"] != meta["content_sm3"]:
                raise AgentError("E3109", record=meta["id"])
            return
        size = int(str(meta["size"]))
        used = connection.execute("SELECT bytes FROM ledger").fetchone()["bytes"]
        if used + size > max_bytes:
            raise AgentError("E3101", used=used, limit=max_bytes)
        columns = ", ".join(meta)
        marks = ", ".join("?" for _ in meta)
        seq = connection.execute(
            f"INSERT INTO record ({columns}) VALUES ({marks})",  # noqa: S608 -- names from `put` alone
            tuple(meta.values()),
        ).lastrowid
        connection.executemany(
            "INSERT INTO body (record, kind, sealed) VALUES (?, ?, ?)",
            [(seq, kind, sealed) for kind, sealed in bodies.items()],
        )
        ledger.accept(connection, str(meta["state"]), size)


def _stands(connection: sqlite3.Connection, record: str, content: str) -> bool:
    row = connection.execute("SELECT content_sm3 FROM record WHERE id = ?", (record,)).fetchone()
    return row is not None and row["content_sm3"] == content


def _write(connection: sqlite3.Connection, sql: str, values: tuple[object, ...]) -> None:
    with transaction(connection, durable=False):
        connection.execute(sql, values)


def _content_sm3(bodies: Mapping[str, bytes]) -> str:
    running = sm.new_sm3()
    for kind in sorted(bodies):
        running.update(f"{kind}:{len(bodies[kind])}:".encode())
        running.update(bodies[kind])
    return running.hexdigest()
