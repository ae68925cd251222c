"""Correcting a refused record: a new one takes its place, the refused one stays as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from agent.outbox import admin, intake
from agent.outbox.rows import holds_json, millis
from agent.outbox.vault import Vault, picture_kind
from agent.records import Hold, PictureKind, Verification

#: What is corrected in the facts, by the rules of whoever corrects them; raises for what may not be.
Correct = Callable[[Verification], Mapping[str, str]]
#: What a record lacks, as at the desk.
Holds = Callable[[Verification, Mapping[PictureKind, bytes]], Mapping[Hold, str]]


def amend(
    connection: sqlite3.Connection,
    vault: Vault,
    record: str,
    correct: Correct,
    holds: Holds,
    *,
    who: str,
    new_id: str,
    now: datetime,
) -> tuple[str, str]:
    """Make the corrected record and close the refused one, in one commit. Return the new id and state."""
    state = ""

    def insert(row: sqlite3.Row) -> str:
        nonlocal state
        original = vault.whole(connection, row)
        corrected = _changed(original, correct(original), new_id)
        pictures = _pictures(connection, vault, row)
        lacking = holds(corrected, pictures)
        state = "held" if lacking else "ready"
        named = {picture_kind(kind): picture for kind, picture in pictures.items()}
        plain = {"facts": intake.facts(corrected), **named}
        meta, bodies = intake.sealed(
            vault,
            {
                "id": new_id,
                "state": state,
                "person": row["person"],
                "verified_at": millis(corrected.verified_at),
                "created_at": millis(now),
                "holds": holds_json(lacking),
                "supersedes": row["id"],
            },
            plain,
        )
        intake.insert_within(connection, meta, bodies, max_bytes=None)
        return new_id

    admin.amend(connection, record, insert, who, now)
    return new_id, state


def _changed(original: Verification, changes: Mapping[str, Any], new_id: str) -> Verification:
    """Return the corrected facts. An address that somebody typed stands before any that the chip holds."""
    newest = None if "address" in changes else original.newest_address
    return replace(original, **{**changes, "newest_address": newest, "id": new_id})


def _pictures(connection: sqlite3.Connection, vault: Vault, row: sqlite3.Row) -> dict[PictureKind, bytes]:
    there = vault.kinds(connection, row)
    kinds = [kind for kind in PictureKind if picture_kind(kind) in there]
    found = {kind: vault.open(connection, row, picture_kind(kind)) for kind in kinds}
    return {kind: picture for kind, picture in found.items() if picture is not None}
