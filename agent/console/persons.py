"""Names and numbers for the page: masked at the source, in full one by one, for a time, audited."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from agent import masks
from agent.catalogue import AgentError
from agent.control.powers import Powers

#: Masked pairs kept, so that a list shown twice a second opens no sealed row twice.
KEPT = 128
#: How long a revealed record stays on the screen.
REVEAL_S = 20


class Persons:
    """Who a record is about. Safe from any thread."""

    def __init__(self, powers: Powers) -> None:
        self._powers = powers
        self._lock = threading.Lock()
        self._masked: OrderedDict[tuple[str, str], dict[str, str]] = OrderedDict()

    def masked(self, record: str) -> dict[str, str]:
        """Return name and number as `console.mask` allows, and when; empty when erased or unreadable."""
        rule = self._powers.current().console.mask
        key = (record, f"{rule.name} {rule.number}")
        with self._lock:
            if key in self._masked:
                self._masked.move_to_end(key)
                return self._masked[key]
        try:
            facts = self._powers.own.outbox.verification(record)
        except AgentError:
            return {"name": "", "number": "", "at": ""}
        found = {
            "name": masks.name(facts.name, rule.name),
            "number": masks.number(facts.number, rule.number),
            "at": facts.verified_at.isoformat(timespec="seconds"),
        }
        with self._lock:
            self._masked[key] = found
            while len(self._masked) > KEPT:
                self._masked.popitem(last=False)
        return found

    def reveal(self, record: str, who: str) -> dict[str, Any]:
        """Return one record's name and number in full. AgentError E7302 when they are erased.

        The trail has the line before the page has the name.
        """
        own = self._powers.own
        facts = own.outbox.verification(record)
        own.audit.append("record.revealed", who=who, target=record, durable=True)
        return {"name": facts.name, "number": facts.number, "seconds": REVEAL_S}
