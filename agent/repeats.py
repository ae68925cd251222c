"""A faulty device complains at every turn of a loop: its fault is told once, then counted.

The same fault of the same device passes again after a while, with the count of what was held back; a word of
recovery from that room tells the count at once and starts anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

#: For so long the same fault of the same device is only counted.
HOLD_S = 600.0
#: What tells two devices of one code apart; everything else of a fault may vary from turn to turn.
IDENTITY = ("port", "source", "loop", "listen", "path", "record")
#: Rooms whose faults come from devices: reader and camera. And a loop that dies again and again.
ROOMS = ("1", "2")
LOOPS = frozenset({"E8101"})
#: The reader is ready, the camera is ready.
RECOVERIES = frozenset({"I1003", "I2002"})
#: Devices in one kiosk are few; what is kept here is bounded all the same.
MAX_KEPT = 256

Key = tuple[str, ...]


@dataclass
class Held:
    """One fault: since when it is held back, and how often it was."""

    since: float
    count: int = 0


class Repeats(logging.Filter):
    """A filter for a handler. `monotonic` returns seconds that only ever grow."""

    def __init__(self, monotonic: Callable[[], float], hold_s: float = HOLD_S) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._hold_s = hold_s
        self._lock = threading.Lock()
        self._held: dict[Key, Held] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is told; one that is carries `repeated` when others were not."""
        code: str = getattr(record, "agent_code", "")
        facts: dict[str, str] = getattr(record, "agent_facts", {})
        if code[1:2] not in ROOMS and code not in LOOPS:
            return True
        with self._lock:
            if record.levelno < logging.WARNING:
                return self._recovered(code, facts)
            return self._fault((code, *(facts.get(name, "") for name in IDENTITY)), facts)

    def _fault(self, key: Key, facts: dict[str, str]) -> bool:
        now = self._monotonic()
        held = self._held.get(key)
        if held is not None and now - held.since < self._hold_s:
            held.count += 1
            return False
        if held is not None and held.count:
            facts["repeated"] = str(held.count)
        if len(self._held) >= MAX_KEPT:
            del self._held[min(self._held, key=lambda one: self._held[one].since)]
        self._held[key] = Held(now)
        return True

    def _recovered(self, code: str, facts: dict[str, str]) -> bool:
        """A device is well again: say how often it was not, and let its next fault be told at once."""
        if code in RECOVERIES:
            gone = [key for key in self._held if key[0][1] == code[1]]
            count = sum(self._held.pop(key).count for key in gone)
            if count:
                facts["repeated"] = str(count)
        return True
