"""What makes opening an image quick without changing what is opened: for the judge's process alone.

Half of a cut's time went into waiting for the owner's thread to be woken and into unsealing the same row again. Neither
says anything about a disk: the judge is one thread, and a sealed row's plaintext follows from its bytes and key.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from agent import ownership
from agent.catalogue import AgentError
from agent.identity import this_machine
from agent.outbox import owner, sealing, startup


class Inline(owner.Owner):
    """The owner's work, done in the caller's thread."""

    def __init__(self, path: Path, relief: Callable[[], bool] = lambda: False) -> None:
        self._path, self._relief, self._closed = path, relief, False
        self._damaged = threading.Event()
        try:
            self._connection: sqlite3.Connection | None = owner.connect(path)
        except Exception as error:
            raise self._told(error) from error

    def hand_in(self, work: owner.Work[Any]) -> Future[Any]:
        if self._closed:
            raise AgentError("E3105")
        answer: Future[Any] = Future()
        self._connection = self._serve(self._connection, work, answer)
        return answer

    def close(self) -> None:
        if self._connection is not None and not self._closed:
            self._connection.close()
        self._closed = True


@cache
def make() -> None:
    """Do so for the rest of this process's life: a child's that judges and does nothing else."""
    vars(startup)["Owner"] = Inline
    vars(sealing)["unseal"] = lru_cache(4096)(sealing.unseal)
    vars(ownership)["this_machine"] = cache(this_machine)
