"""Records held for something that the registrar can say: shown, and completed by appended supplements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.hmpt.codes import NATIONS
from agent.outbox import HeldRecord
from agent.records import Hold, Supplement

#: What a person at the desk can fill in: the hold, and the field of the facts that its supplement names.
FIELDS = {Hold.NATION: "nation_code", Hold.ADDRESS: "address", Hold.ISSUER: "issuer"}
#: address and police are VARCHAR(100) in table 4.2.
MAX_CHARS = 100
#: Longer lists nobody reads on a desk's screen; the count says how many there are.
MAX_ROWS = 20


def fields(held: HeldRecord) -> list[str]:
    """Return which fields of a held record the registrar can fill."""
    return [field for hold, field in FIELDS.items() if hold in held.holds]


def complete(powers: Powers, record: str, given: Mapping[str, Any], who: str) -> None:
    """Append what was filled in. AgentError E8413 for what cannot be; E3114 for a record not held."""
    values = {str(field): _checked(str(field), value) for field, value in given.items()}
    if not values:
        raise AgentError("E8413", field="-")
    own = powers.own
    for field, value in values.items():
        own.outbox.supplement(record, Supplement(field, value, who, own.clock.now()))
        # Which field, never its value: the trail names nobody.
        own.audit.append("record.supplemented", who=who, target=record, field=field, durable=True)
    powers.record_changed()


def _checked(field: str, value: Any) -> str:
    text = " ".join(str(value).split())
    good = 0 < len(text) <= MAX_CHARS and text.isprintable() and isinstance(value, str)
    if field not in FIELDS.values() or not good:
        raise AgentError("E8413", field=field[:20])
    if field == "nation_code" and text not in NATIONS:
        raise AgentError("E8413", field=field)
    return text
