"""The registrar's list of what the rules ask for after a verification that did not pass, or was none.

A case names its person masked, until somebody asks for one, and is closed under the name of the operator.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from agent import masks
from agent.catalogue import AgentError, entry
from agent.clock import Clock
from agent.control.powers import Powers

#: Shown at once; the count says how many there are.
MAX_ROWS = 20
KEPT = 64
FRESH_S = 1.0
#: What each reason asks for: the entry whose steps the list shows.
ASKS = {
    "failed": "W2001",
    "not_verified": "W2002",
    "refused": "W1016",
    "cannot_be_photographed": "W1017",
    "no_picture": "E2403",
}


class Cases:
    """Open follow-ups as the page shows them. Safe from any thread."""

    def __init__(self, powers: Powers, clock: Clock) -> None:
        self._powers = powers
        self._clock = clock
        self._lock = threading.Lock()
        self._masked: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._rows: list[dict[str, Any]] = []
        self._count = 0
        self._read_at: float | None = None
        self._mark: object = None

    def forget(self) -> None:
        """Look anew: somebody has just changed the list."""
        with self._lock:
            self._read_at = None

    def shown(self, lang: str, mark: object) -> tuple[list[dict[str, Any]], int]:
        """Return the oldest open cases and their number; read anew each second and when `mark` differs."""
        with self._lock:
            now = self._clock.monotonic()
            if self._read_at is None or now - self._read_at >= FRESH_S or mark != self._mark:
                self._read()
                self._read_at, self._mark = now, mark
            rows, count = self._rows, self._count
        return [{**row, "do": entry(ASKS[row["reason"]]).steps(lang)} for row in rows], count

    def _read(self) -> None:
        followups = self._powers.own.outbox.followups
        self._rows = []
        for case in followups.listed(MAX_ROWS):
            name, number = self._person(case.id)
            self._rows.append(
                {
                    "id": case.id,
                    "reason": case.reason,
                    "at": case.opened_at.isoformat(timespec="seconds"),
                    "name": name,
                    "number": number,
                }
            )
        self._count = followups.count()

    def _person(self, case: str) -> tuple[str, str]:
        """Return whom a case is about, masked at the source; nothing where its key is lost."""
        rule = self._powers.current().console.mask
        key = f"{case} {rule.name} {rule.number}"
        if key not in self._masked:
            try:
                person = self._powers.own.outbox.followups.person(case)
            except AgentError:
                return "", ""
            self._masked[key] = masks.name(person.name, rule.name), masks.number(person.number, rule.number)
            while len(self._masked) > KEPT:
                self._masked.popitem(last=False)
        return self._masked[key]
