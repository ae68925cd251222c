"""The lock on a state directory: one owner at a time, released by the kernel when its process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType

from agent.catalogue import AgentError

POLL_S = 0.1


class StateLock:
    """Held from construction until closed. AgentError E8301 with the holder's pid when another has it.

    `patience_s`: how long to wait for a holder that may be a command about to end.
    """

    def __init__(self, state_dir: Path, patience_s: float = 0.0) -> None:
        self._path = state_dir / "lock"
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AgentError("E8302", path=self._path, reason=error.strerror) from error
        if not self._taken(patience_s):
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "?"
            os.close(self._descriptor)
            raise AgentError("E8301", pid=holder, path=state_dir)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _taken(self, patience_s: float) -> bool:
        deadline, pause = time.monotonic() + patience_s, threading.Event()
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
            pause.wait(POLL_S)

    def __enter__(self) -> StateLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
