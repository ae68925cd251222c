"""Taking a record in: sealed, counted, one synced commit."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from functools import partial
from typing import Any

from agent.catalogue import AgentError
from agent.outbox import followups, ledger, sealing
from agent.outbox.owner import transaction
from agent.outbox.vault import Vault, label
from agent.records import Verification

#: What the meta row says at first, kept beside the facts as well: a lost meta row is made anew from it.
_ORIGIN = ("id", "person", "verified_at", "created_at", "holds", "content")


def sealed(
    vault: Vault, meta: Mapping[str, Any], plain: Mapping[str, bytes]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Seal a record's bodies under a fresh key. Return the whole meta row, and the sealed rows by kind.

    The bodies at the same time, for a woman and a registrar wait: OpenSSL works outside Python's lock.
    """
    key, wrapped = vault.new_record_key(meta["id"])
    content = vault.aside(partial(digest, plain))
    rows = [
        vault.aside(partial(sealing.seal, key, body, label(meta["id"], kind))) for kind, body in plain.items()
    ]
    bodies = {kind: row.result() for kind, row in zip(plain, rows, strict=True)}
    size = sum(len(body) for body in bodies.values())
    # What came from another machine keeps the digest of what was put there.
    return {"content": content.result(), **meta, "size": size, "wrapped_key": wrapped}, bodies


def insert(
    connection: sqlite3.Connection,
    meta: Mapping[str, Any],
    bodies: Mapping[str, bytes],
    followup: followups.Sealed | None,
    max_bytes: int,
) -> None:
    """Keep a record, and in the same commit who has to look after it.

    AgentError E3109 the same id with other content, E3101 over the quota.
    """
    with transaction(connection, durable=True):
        if insert_within(connection, meta, bodies, max_bytes) and followup is not None:
            followups.insert_within(connection, followup)


def insert_within(
    connection: sqlite3.Connection,
    meta: Mapping[str, Any],
    bodies: Mapping[str, bytes],
    max_bytes: int | None,
) -> bool:
    """Keep a record within the caller's transaction. Return False when it is there already."""
    connection.execute("DELETE FROM opened WHERE id = ?", (meta["id"],))
    there = connection.execute("SELECT content FROM record WHERE id = ?", (meta["id"],)).fetchone()
    if there is not None:
        if there["content"] != meta["content"]:
            raise AgentError("E3109", record=meta["id"])
        return False
    used = ledger.used(connection)
    if max_bytes is not None and used + meta["size"] > max_bytes:
        raise AgentError("E3101", used=used, limit=max_bytes)
    columns, marks = ", ".join(meta), ", ".join("?" for _ in meta)
    seq = connection.execute(
        f"INSERT INTO record ({columns}) VALUES ({marks})",  # noqa: S608 -- names of our own callers
        tuple(meta.values()),
    ).lastrowid
    origin = {name: meta[name] for name in _ORIGIN if name in meta}
    origin["wrapped_key"] = meta["wrapped_key"].hex()
    connection.executemany(
        "INSERT INTO body (record, kind, sealed, origin) VALUES (?, ?, ?, ?)",
        [
            (seq, kind, body, json.dumps(origin, ensure_ascii=False) if kind == "facts" else None)
            for kind, body in bodies.items()
        ],
    )
    ledger.accept(connection, meta["state"], meta["size"])
    return True


def stands(connection: sqlite3.Connection, meta: Mapping[str, Any]) -> bool:
    """Return whether the record is there with this content."""
    row = connection.execute("SELECT content FROM record WHERE id = ?", (meta["id"],)).fetchone()
    return row is not None and row["content"] == meta["content"]


def facts(verification: Verification) -> bytes:
    """Return a verification as it is sealed."""
    return json.dumps(verification.to_facts(), ensure_ascii=False, sort_keys=True).encode()


def digest(bodies: Mapping[str, bytes]) -> str:
    """Return what tells the same content put again from other content, whatever order its parts come in.

    BLAKE2b, because the desk waits for it and it is five times as fast as SM3. It never leaves the machine
    and guards nothing: that is the seal's tag.
    """
    running = hashlib.blake2b(digest_size=32)
    for kind in sorted(bodies):
        running.update(f"{kind}:{len(bodies[kind])}:".encode())
        running.update(bodies[kind])
    return running.hexdigest()
