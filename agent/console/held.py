"""Records held for something that the registrar can say: shown, and completed by appended supplements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.hmpt import entered
from agent.outbox import HeldRecord
from agent.records import ENTERED, Hold, Supplement

#: What a person at the desk can fill in: the hold, and the field of table 4.2.
FIELDS = {Hold.NATION: "nationalCode", Hold.ADDRESS: "address", Hold.ISSUER: "police"}
#: Longer lists nobody reads on a desk's screen; the count says how many there are.
MAX_ROWS = 20


def fields(held: HeldRecord) -> list[str]:
    """Return which fields of a held record the registrar can fill."""
    return [field for hold, field in FIELDS.items() if hold in held.holds]


def complete(powers: Powers, record: str, given: Mapping[str, Any], who: str) -> None:
    """Append what was filled in.

    AgentError E8413 for a field that cannot be, E3114 for a record not held, or as `entered.values` raises.
    """
    forbidden = sorted(set(given) - set(FIELDS.values()))
    if forbidden or not given:
        raise AgentError("E8413", field=forbidden[0][:20] if forbidden else "-")
    own, conventions = powers.own, powers.current().platform.conventions
    values = entered.values(own.outbox.verification(record), given, conventions)
    for name in given:
        supplement = Supplement(ENTERED[name], values[ENTERED[name]], who, own.clock.now())
        own.outbox.supplement(record, supplement)
        # Which field, never its value: the trail names nobody.
        own.audit.append("record.supplemented", who=who, target=record, field=name, durable=True)
    powers.record_changed()
