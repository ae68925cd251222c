"""Correcting a refused record: a new one takes its place, the refused one stays as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from agent.catalogue import AgentError
from agent.outbox import admin, intake
from agent.outbox.rows import find, holds_json, millis
from agent.outbox.vault import Vault
from agent.records import SUPPLEMENTABLE, PictureKind, Verification

#: What may be corrected by hand. Who the person is, the pictures, the time and the verdict may not: they
#: are what chip, camera and engine said.
AMENDABLE = SUPPLEMENTABLE | {"sex_code", "valid_from", "valid_until"}


def amend(
    connection: sqlite3.Connection,
    vault: Vault,
    record: str,
    changes: Mapping[str, str],
    *,
    who: str,
    holds: Callable[..., Mapping[Any, str]],
    new_id: str,
    now: datetime,
) -> tuple[str, str]:
    """Make the corrected record and close the refused one, in one commit. Return the new id and state."""
    forbidden = sorted(set(changes) - AMENDABLE)
    if forbidden or not changes:
        raise AgentError("E3123", fields=",".join(forbidden) or "-", allowed=",".join(sorted(AMENDABLE)))
    state = ""

    def insert(row: sqlite3.Row) -> str:
        nonlocal state
        corrected = _changed(vault.whole(connection, row), {**changes, "id": new_id})
        pictures = _pictures(connection, vault, row)
        lacking = holds(corrected, {PictureKind(kind.partition(":")[2]) for kind in pictures})
        state = "held" if lacking else "ready"
        plain = {"facts": intake.facts(corrected), **pictures}
        meta, bodies = intake.sealed(
            vault,
            {
                "id": new_id,
                "state": state,
                "person": row["person"],
                "verified_at": row["verified_at"],
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


def _changed(verification: Verification, changes: Mapping[str, Any]) -> Verification:
    return replace(verification, **changes)


def _pictures(connection: sqlite3.Connection, vault: Vault, row: sqlite3.Row) -> dict[str, bytes]:
    kinds = sorted(kind for kind in vault.kinds(connection, row) if kind.startswith("picture:"))
    found = {kind: vault.open(connection, find(connection, row["id"]), kind) for kind in kinds}
    return {kind: picture for kind, picture in found.items() if picture is not None}
