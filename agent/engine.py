"""The database engine below Python: whether it is new enough to be let near the records."""

from __future__ import annotations

import sqlite3

from agent.catalogue import AgentError

#: The first with STRICT tables. An older one calls their file malformed, which here would mean: damaged.
OLDEST = (3, 37, 0)


def ensure() -> None:
    """Raise AgentError E3140 when the interpreter came with too old a SQLite: before any file is touched."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise AgentError("E3140", received=sqlite3.sqlite_version, needed=".".join(map(str, OLDEST)))
