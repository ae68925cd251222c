"""The queues that are measured, behind one interface: ours with and without the seal, and four others."""

from __future__ import annotations

import importlib
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from agent.clock import SystemClock
from agent.outbox import Ballast, Claim, Outbox, SealKeys, SettleDelivered, claims, intake, migrations, owner
from agent.outbox.retention import erase
from agent.outbox.upkeep import NEVER
from agent.records import FaceResult, FaceVerdict, PictureKind, Receipt, Verification
from drivers.card import CardKind

NO_LIMIT = 2**50
BATCH_BYTES = 8 * 2**20
NOTED = {
    "request_id": "r",
    "conventions_fingerprint": "f",
    "conventions_json": "{}",
    "sm3_hex": "00" * 32,
    "length": 1,
}


class Queue(ABC):
    """Put is durable when it returns; take reads a whole record; done acknowledges the one that was taken."""

    note: str
    #: Sealed queues are held against disk and cipher, the others against the disk alone.
    sealed = False

    @abstractmethod
    def __init__(self, folder: Path) -> None: ...

    def begin(self) -> None:  # noqa: B027 -- most queues know nothing of what is only about to be put
        """Note that something will be put soon."""

    @abstractmethod
    def put(self, payload: bytes) -> None: ...

    @abstractmethod
    def take(self) -> bytes: ...

    @abstractmethod
    def done(self) -> None: ...

    @abstractmethod
    def fill(self, payload: bytes, count: int) -> None:
        """Put a backlog, without waiting for the disk each time."""

    @abstractmethod
    def clean(self) -> None:
        """Delete what is finished, where done only marks it."""

    @abstractmethod
    def close(self) -> None: ...


def _repeat(put: Callable[[bytes], None], payload: bytes, count: int) -> None:
    for _ in range(count):
        put(payload)


def _fill(owned: owner.Owner, rows: Iterable[tuple[dict[str, Any], dict[str, bytes]]], size: int) -> None:
    """Insert records as `put` does, many in one transaction."""
    batch = max(1, BATCH_BYTES // max(size, 1000))
    waiting = iter(rows)

    def some(connection: sqlite3.Connection) -> bool:
        taken = list(islice(waiting, batch))
        with owner.transaction(connection, durable=True):
            for meta, bodies in taken:
                intake.insert_within(connection, meta, bodies, NO_LIMIT)
        return bool(taken)

    while owned.run(some):
        pass


def _meta() -> dict[str, Any]:
    meta: dict[str, Any] = {"id": uuid.uuid4().hex, "state": "ready", "person": uuid.uuid4().hex}
    return meta | {"verified_at": 0, "created_at": 0, "holds": "{}", "content": ""}


def _receipt() -> Receipt:
    return Receipt("r", 0, 200, "00000", "ok", signed=True)


class Storage(Queue):
    """The outbox's own statements on its own file; only the cipher and the record's meaning are left out."""

    note = "ours, storage alone: put, claim with attempt row, receipt; bodies are erased later"

    def __init__(self, folder: Path) -> None:
        self._owner = owner.Owner(folder / "outbox.db")
        self._owner.run(partial(migrations.bring_up_to_date, path=folder / "outbox.db"))
        self._claim: Claim | None = None
        self._clock = SystemClock()

    def put(self, payload: bytes) -> None:
        meta = {**_meta(), "size": len(payload), "wrapped_key": b""}
        self._owner.run(
            partial(
                intake.insert,
                meta=meta,
                bodies={"picture:camera": payload},
                followup=None,
                max_bytes=NO_LIMIT,
            )
        )

    def fill(self, payload: bytes, count: int) -> None:
        meta = {"size": len(payload), "wrapped_key": b""}
        rows = ({**_meta(), **meta} for _ in range(count))
        _fill(self._owner, ((row, {"picture:camera": payload}) for row in rows), len(payload))

    def take(self) -> bytes:
        taken = self._owner.run(partial(claims.take, epoch=1, now=self._clock.now(), turn=0))
        if taken is None:
            raise LookupError
        row, token = taken
        body = self._owner.run(
            lambda c: c.execute("SELECT sealed FROM body WHERE record = ?", (row["seq"],)).fetchone()[0]
        )
        self._claim = Claim(row["id"], token, 1, verification(), False, None, 0, 0, lambda _kind: None)
        self._owner.run(partial(claims.note, claim=self._claim, now=self._clock.now(), values=NOTED))
        return bytes(body)

    def done(self) -> None:
        if self._claim is None:
            raise LookupError
        settled = SettleDelivered(_receipt())
        self._owner.run(partial(claims.settle, claim=self._claim, settlement=settled, now=self._clock.now()))

    def clean(self) -> None:
        tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
        while self._owner.run(partial(erase, before=tomorrow, beyond=NEVER)):
            pass

    def close(self) -> None:
        self._owner.close()


class Sealed(Queue):
    """The outbox as the agent uses it, opened mark, seal and digest included."""

    note = "ours as it runs: opened mark, two pictures and facts under SM4-GCM, digest, attempt row, receipt"
    sealed = True

    def __init__(self, folder: Path) -> None:
        keys = SealKeys.derived(bytes(32))
        self._clock = SystemClock()
        self._outbox = Outbox.open(folder, keys, self._clock, NO_LIMIT, ballast=Ballast(folder, 0))
        self._claim: Claim | None = None
        self._next = verification()

    def begin(self) -> None:
        self._next = verification()
        self._outbox.open_attempt(self._next.id)

    def put(self, payload: bytes) -> None:
        one, self._next = self._next, verification()
        half = len(payload) // 2
        pictures = {PictureKind.CAMERA: payload[:half], PictureKind.CARD: payload[half:]}
        self._outbox.put(one, pictures, person=one.id, holds={})

    def take(self) -> bytes:
        self._claim = self._outbox.claim(self._clock.now())
        if self._claim is None:
            raise LookupError
        self._outbox.note_attempt(self._claim, **NOTED)  # type: ignore[arg-type]
        return b"".join(self._claim.picture(kind) or b"" for kind in (PictureKind.CAMERA, PictureKind.CARD))

    def done(self) -> None:
        if self._claim is None:
            raise LookupError
        self._outbox.settle(self._claim, SettleDelivered(_receipt()))

    def fill(self, payload: bytes, count: int) -> None:
        vault, plain = (
            self._outbox._vault,
            {"picture:camera": payload, "facts": intake.facts(verification())},
        )
        _fill(self._outbox._owner, (intake.sealed(vault, _meta(), plain) for _ in range(count)), len(payload))

    def clean(self) -> None:
        self._outbox.upkeep.erase(timedelta(days=-1))

    def close(self) -> None:
        self._outbox.close()


def verification() -> Verification:
    """Return a complete verification of a made-up person."""
    return Verification(
        id=uuid.uuid4().hex,
        verified_at=datetime.now(timezone.utc),
        face=FaceVerdict(FaceResult.PASSED, cosine=0.7, score=0.9, threshold=0.45, frames=1),
        card_kind=CardKind.RESIDENT,
        device_no="0000777",
        machine_code="SIM-0000777",
        name="测试",
        number="45010219900101004X",
        sex_code="2",
        nation_code="08",
        birth="19900101",
        address="广西测试市",
        issuer="测试市公安局",
        valid_from="20200101",
        valid_until="20400101",
        operator="测试员",
    )


class BareSqlite(Queue):
    """What SQLite itself takes: the limit of every queue in one."""

    note = "one table, one INSERT, one DELETE; no state, no attempt, no receipt: SQLite's own limit"

    def __init__(self, folder: Path) -> None:
        self._connection = owner.connect(folder / "bare.db")
        self._connection.execute("CREATE TABLE item (seq INTEGER PRIMARY KEY, body BLOB)")
        self._seq = 0

    def put(self, payload: bytes) -> None:
        self._connection.execute("INSERT INTO item (body) VALUES (?)", (payload,))

    def fill(self, payload: bytes, count: int) -> None:
        self._connection.execute("PRAGMA synchronous = OFF")
        _repeat(self.put, payload, count)
        self._connection.execute("PRAGMA synchronous = FULL")

    def take(self) -> bytes:
        row = self._connection.execute("SELECT seq, body FROM item ORDER BY seq LIMIT 1").fetchone()
        self._seq = row["seq"]
        return bytes(row["body"])

    def done(self) -> None:
        self._connection.execute("DELETE FROM item WHERE seq = ?", (self._seq,))

    def clean(self) -> None:
        """Nothing is left."""

    def close(self) -> None:
        self._connection.close()


# --- the others ---------------------------------------------------------------------------------------


class PersistQueue(Queue):
    """https://github.com/peter-wangxu/persist-queue"""

    note = "SQLiteAckQueue: WAL, FULL; status beside the body"

    def __init__(self, folder: Path) -> None:
        self._queue: Any = importlib.import_module("persistqueue").SQLiteAckQueue(
            str(folder / "persistqueue"), auto_commit=True
        )
        self._id = 0

    def put(self, payload: bytes) -> None:
        self._queue.put(payload)

    def take(self) -> bytes:
        item = self._queue.get(block=False, raw=True)
        self._id = item["pqid"]
        return bytes(item["data"])

    def done(self) -> None:
        self._queue.ack(id=self._id)

    def fill(self, payload: bytes, count: int) -> None:
        self._queue._putter.execute("PRAGMA synchronous = OFF")
        _repeat(self.put, payload, count)
        self._queue._putter.execute("PRAGMA synchronous = FULL")

    def clean(self) -> None:
        self._queue.clear_acked_data(max_delete=100_000, keep_latest=0)

    def close(self) -> None:
        self._queue.close()


class LiteQueue(Queue):
    """https://github.com/litements/litequeue"""

    note = "NORMAL by default, raised to FULL here: at NORMAL a power cut loses what was put"

    def __init__(self, folder: Path) -> None:
        self._queue: Any = importlib.import_module("litequeue").LiteQueue(str(folder / "litequeue.db"))
        self._id = ""
        self._queue.conn.execute("PRAGMA synchronous = FULL")

    def put(self, payload: bytes) -> None:
        self._queue.put(payload)

    def take(self) -> bytes:
        message = self._queue.pop()
        self._id = message.message_id
        return bytes(message.data)

    def done(self) -> None:
        self._queue.done(self._id)

    def fill(self, payload: bytes, count: int) -> None:
        self._queue.conn.execute("PRAGMA synchronous = OFF")
        _repeat(self.put, payload, count)
        self._queue.conn.execute("PRAGMA synchronous = FULL")

    def clean(self) -> None:
        self._queue.prune()

    def close(self) -> None:
        self._queue.close()


class Huey(Queue):
    """https://github.com/coleifer/huey"""

    note = "SqliteStorage, fsync on; taking deletes: what is being sent is lost with its process"

    def __init__(self, folder: Path) -> None:
        storage: Any = importlib.import_module("huey.storage")
        self._queue = storage.SqliteStorage(
            "q", filename=str(folder / "huey.db"), fsync=True, strict_fifo=True
        )

    def put(self, payload: bytes) -> None:
        self._queue.enqueue(payload)

    def take(self) -> bytes:
        return bytes(self._queue.dequeue())

    def done(self) -> None:
        """There is nothing to acknowledge: it is gone already."""

    clean = done

    def fill(self, payload: bytes, count: int) -> None:
        self._queue.conn.execute("PRAGMA synchronous = OFF")
        _repeat(self.put, payload, count)
        self._queue.conn.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        self._queue.close()


class DiskCache(Queue):
    """https://github.com/grantjenks/python-diskcache"""

    note = "Deque, FULL; bodies in files that are never synced: a power cut loses them; taking deletes"

    def __init__(self, folder: Path) -> None:
        diskcache: Any = importlib.import_module("diskcache")
        self._cache = diskcache.Cache(
            str(folder / "diskcache"), eviction_policy="none", size_limit=NO_LIMIT, sqlite_synchronous=2
        )
        self._queue = diskcache.Deque.fromcache(self._cache)

    def put(self, payload: bytes) -> None:
        self._queue.append(payload)

    def take(self) -> bytes:
        return bytes(self._queue.popleft())

    def done(self) -> None:
        """There is nothing to acknowledge: it is gone already."""

    clean = done

    def fill(self, payload: bytes, count: int) -> None:
        self._cache._sql("PRAGMA synchronous = OFF").fetchall()
        _repeat(self.put, payload, count)
        self._cache._sql("PRAGMA synchronous = FULL").fetchall()

    def close(self) -> None:
        self._cache.close()


QUEUES: dict[str, type[Queue]] = {
    "outbox, storage alone": Storage,
    "outbox, sealed": Sealed,
    "bare SQLite": BareSqlite,
    "persist-queue": PersistQueue,
    "litequeue": LiteQueue,
    "huey": Huey,
    "diskcache": DiskCache,
}
