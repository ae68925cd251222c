"""The latest state of everything, and a bounded list of events: loops write, page and status read.

Nothing on the board names a person. Reading it never waits for a device, a disk or the network.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.clock import Clock

#: Events kept for whoever looks later: an hour at the desk, a few kilobytes.
MAX_EVENTS = 200


@dataclass(frozen=True)
class Event:
    """Something that happened, told by its catalogue code."""

    number: int
    at: datetime
    code: str
    facts: Mapping[str, str]


class Board:
    """Topics such as "reader", "camera", "screen", "platform", each with its latest state."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Condition(threading.Lock())
        self._topics: dict[str, dict[str, Any]] = {}
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._number = 0
        self._changes = 0
        self._counts: Counter[str] = Counter()
        self._told: dict[str, Mapping[str, str]] = {}

    def post(self, topic: str, **state: Any) -> None:
        """Replace the state of a topic; the time of the change is kept with it."""
        with self._lock:
            self._topics[topic] = {**state, "since": self._clock.now().isoformat(timespec="milliseconds")}
            self._changed()

    def event(self, code: str, **facts: object) -> None:
        """Append an event; the oldest one leaves when the list is full."""
        with self._lock:
            self._number += 1
            self._counts[code] += 1
            self._told[code] = {k: str(v) for k, v in facts.items()}
            self._events.append(Event(self._number, self._clock.now(), code, self._told[code]))
            self._changed()

    def _changed(self) -> None:
        self._changes += 1
        self._lock.notify_all()

    def wait_beyond(self, change: int, timeout_s: float) -> int:
        """Wait until there is a change later than `change`, or time is up. Return the latest one's number."""
        with self._lock:
            self._lock.wait_for(lambda: self._changes > change, timeout_s)
            return self._changes

    def counts(self) -> dict[str, int]:
        """Return how many events of each code there ever were."""
        with self._lock:
            return dict(self._counts)

    def told(self) -> dict[str, Mapping[str, str]]:
        """Return the latest facts of each code, however long ago: what lasts is not told again."""
        with self._lock:
            return dict(self._told)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return a copy of every topic's state."""
        with self._lock:
            return {topic: dict(state) for topic, state in self._topics.items()}

    def events(self, after: int = 0) -> list[Event]:
        """Return the kept events with a number above `after`, oldest first."""
        with self._lock:
            return [event for event in self._events if event.number > after]
