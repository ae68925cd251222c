"""Heartbeats with a declared silence: how a loop proves that it lives.

A loop beats once a turn. Before it waits for a device or an answer it declares until when it may be
silent; only beyond that, plus a grace, is it called late, and the watchdog is no longer fed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agent.clock import Clock

#: Seconds a loop may be silent without having declared it.
GRACE_S = 10.0


class Heartbeat:
    """The pulse of one loop; written by the loop, read by the supervisor."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._silent_until = clock.monotonic()

    def beat(self) -> None:
        """Say: I am here, and shall be again within the grace."""
        with self._lock:
            self._silent_until = self._clock.monotonic()

    @contextmanager
    def silence(self, seconds: float) -> Iterator[None]:
        """Declare that the loop may be silent for `seconds` within this block."""
        with self._lock:
            self._silent_until = self._clock.monotonic() + seconds
        try:
            yield
        finally:
            self.beat()

    def late_s(self) -> float:
        """Return by how many seconds the loop is overdue; 0.0 while it is in time."""
        with self._lock:
            return max(0.0, self._clock.monotonic() - self._silent_until - GRACE_S)
