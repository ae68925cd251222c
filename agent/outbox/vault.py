"""Sealed rows in the database: epoch keys, record keys, bodies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from agent.catalogue import AgentError
from agent.outbox import epochs, sealing
from agent.outbox.epochs import Wrapped
from agent.outbox.owner import transaction
from agent.outbox.rows import millis
from agent.outbox.sealing import Key, KeyEncryptionKey
from agent.records import FACTS_SCHEMA, PictureKind, Supplement, Verification, supplemented

T = TypeVar("T")


@dataclass(frozen=True)
class SealKeys:
    """The key-encryption key, and the one that is to follow it (`NAME.next`), if any."""

    current: KeyEncryptionKey
    following: KeyEncryptionKey | None = None

    @classmethod
    def derived(cls, seal_key: bytes, seal_next: bytes | None = None) -> SealKeys:
        """Return the keys of the configured sealing key or keys."""
        following = None if seal_next is None else KeyEncryptionKey.derived(seal_next)
        return cls(KeyEncryptionKey.derived(seal_key), following)

    @property
    def newest(self) -> KeyEncryptionKey:
        """Return the key under which epoch keys are wrapped from now on."""
        return self.following or self.current

    def of(self, kek_id: str) -> KeyEncryptionKey | None:
        """Return the key of that id, None when we have neither."""
        return next((kek for kek in (self.newest, self.current) if kek.id == kek_id), None)


@dataclass(frozen=True)
class Sealed:
    """A body as it lies in the database, and what opens it: no connection is needed any more."""

    key: Key
    row: bytes = field(repr=False)
    what: str

    def opened(self) -> bytes:
        """Return the plaintext. AgentError E7101 when it is damaged."""
        return sealing.unseal(self.key, self.row, self.what)


class Vault:
    """The epoch keys, unwrapped once at the start, and what is sealed below them."""

    def __init__(self, keys: SealKeys) -> None:
        self._keys = keys
        # OpenSSL works outside Python's lock: two pictures are sealed in the time of one.
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="seal")
        self._epochs: dict[int, Key] = {}
        self._lost: dict[int, str] = {}

    def aside(self, work: Callable[[], T]) -> Future[T]:
        """Do something that is long for Python, but short for OpenSSL, beside the caller.

        AgentError E3105 once closed.
        """
        try:
            return self._pool.submit(work)
        except RuntimeError:
            raise AgentError("E3105") from None

    def close(self) -> None:
        """End the threads that seal."""
        self._pool.shutdown()

    @classmethod
    def opened(cls, connection: sqlite3.Connection, keys: SealKeys, now: datetime) -> Vault:
        """Unwrap the epoch keys, wrap them under the newest key, and make the first one.

        An epoch key under a key that is not there is lost for now: its records say so one by one (E7303),
        and come back when the key does. New records are sealed under a new epoch key.
        """
        vault = cls(keys)
        with transaction(connection, durable=True):
            for epoch, forms in epochs.kept(connection).items():
                vault._unwrap(connection, epoch, forms)
            if not vault._epochs:
                vault._add_epoch(connection, now)
        return vault

    def _unwrap(self, connection: sqlite3.Connection, epoch: int, forms: Sequence[Wrapped]) -> None:
        key = next(filter(None, (self._unwrapped(epoch, form) for form in forms)), None)
        if key is None:
            self._lost[epoch] = forms[0].kek_id
            return
        self._epochs[epoch] = key
        # Both the same, and under the newest key; else one of them is rotten, lost, or not made yet.
        if len(forms) != 2 or forms[0] != forms[1] or forms[0].kek_id != self._keys.newest.id:
            self._wrap(connection, key)

    def _unwrapped(self, epoch: int, form: Wrapped) -> Key | None:
        kek = self._keys.of(form.kek_id)
        try:
            return None if kek is None else kek.unwrap(epoch, form.secret)
        except AgentError:
            return None

    def _wrap(self, connection: sqlite3.Connection, key: Key, created_at: int = 0) -> None:
        kek = self._keys.newest
        epochs.keep(connection, key.epoch, Wrapped(kek.id, kek.wrap(key.epoch, key.secret)), created_at)

    def _add_epoch(self, connection: sqlite3.Connection, now: datetime) -> None:
        key = Key(sealing.new_secret(), max([0, *self._epochs, *self._lost]) + 1)
        self._wrap(connection, key, millis(now))
        self._epochs[key.epoch] = key

    def rotate(self, connection: sqlite3.Connection, now: datetime) -> int:
        """Seal new records under a new epoch key from now on. Return its id."""
        with transaction(connection, durable=True):
            self._add_epoch(connection, now)
        return self._current.epoch

    def rewrap(self, connection: sqlite3.Connection, seal_key: bytes) -> None:
        """Put every epoch key under another key-encryption key: one small transaction, no body is touched."""
        before = self._keys
        self._keys = SealKeys(before.current, KeyEncryptionKey.derived(seal_key))
        try:
            with transaction(connection, durable=True):
                for key in self._epochs.values():
                    self._wrap(connection, key)
        except BaseException:
            self._keys = before
            raise

    @property
    def _current(self) -> Key:
        return self._epochs[max(self._epochs)]

    @property
    def kek_id(self) -> str:
        """Return the id of the key-encryption key in force; it can be shown."""
        return self._keys.newest.id

    @property
    def lost(self) -> dict[int, str]:
        """Return the epoch keys that cannot be unwrapped: epoch id -> id of the key they are under."""
        return dict(self._lost)

    def readable(self, wrapped: bytes | None) -> bool:
        """Return whether the epoch key that a record's key is under is there."""
        return wrapped is not None and sealing.epoch_of(wrapped) in self._epochs

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

    def sealed(self, connection: sqlite3.Connection, row: sqlite3.Row, kind: str) -> Sealed | None:
        """Return a body as it is kept, with what opens it; None when there is none of that kind."""
        found = connection.execute(
            "SELECT sealed FROM body WHERE record = ? AND kind = ?", (row["seq"], kind)
        ).fetchone()
        if found is None:
            return None
        return Sealed(self.record_key(row), found["sealed"], label(row["id"], kind))

    def open(self, connection: sqlite3.Connection, row: sqlite3.Row, kind: str) -> bytes | None:
        """Return a body's plaintext, None when there is none of that kind; AgentError when it is damaged."""
        sealed = self.sealed(connection, row, kind)
        return None if sealed is None else sealed.opened()

    def kinds(self, connection: sqlite3.Connection, row: sqlite3.Row) -> set[str]:
        """Return which bodies a record has."""
        rows = connection.execute("SELECT kind FROM body WHERE record = ?", (row["seq"],))
        return {found["kind"] for found in rows}

    def verification(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Verification:
        """Return the facts with their supplements. AgentError E7101 or E3111 when they cannot be read.

        E7302 when they were erased because the record is finished.
        """
        facts = self.open(connection, row, "facts")
        if facts is None:
            raise AgentError("E7302" if row["finished_at"] else "E3111", record=row["id"])
        try:
            verification = Verification.from_facts(json.loads(facts))
        except (ValueError, KeyError, TypeError) as error:
            raise AgentError("E3111", record=row["id"]) from error
        return supplemented(verification, self.supplements(connection, row))

    def whole(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Verification:
        """Return the facts of a record all of whose rows are there. AgentError E3121 when some are not.

        A row that is missing altogether has no tag that could fail: the sum of the sizes tells.
        """
        there = connection.execute(
            "SELECT coalesce(sum(length(sealed)), 0) FROM body WHERE record = ?", (row["seq"],)
        ).fetchone()[0]
        if there != row["size"]:
            raise AgentError("E3121", record=row["id"], expected=row["size"], received=there)
        return self.verification(connection, row)

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
