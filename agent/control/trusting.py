"""`platform show|accept-unsigned`, `clock show|accept|set`: what is believed, and by whose word."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agent.catalogue import AgentError
from agent.clock import EARLIEST, SHANGHAI, rfc3339
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.records import VERIFIED_AT, Hold, Supplement
from agent.uploader.memory import RememberedSigning, summary


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "platform.show": lambda _args, _caller: _platform(powers),
        "platform.accept_unsigned": lambda _args, caller: _accept_unsigned(powers, caller),
        "clock.show": lambda _args, _caller: _clock(powers),
        "clock.accept": lambda _args, caller: _accept_clock(powers, caller),
        "clock.set": lambda args, caller: _set_time(powers, str(args["id"]), str(args["at"]), caller),
    }


def _platform(powers: Powers) -> dict[str, Any]:
    found = summary(powers.own.outbox, powers.current())
    topic = {} if powers.board is None else powers.board.snapshot().get("platform", {})
    if found["next_try"] is not None and found["next_try"] <= powers.own.clock.now():
        found["next_try"] = None  # due: as soon as there is something to send
    return {**found, "skew_s": topic.get("skew_s")}


def _accept_unsigned(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Take unsigned answers again: the platform said that it no longer signs."""
    base_url = powers.current().platform.base_url
    RememberedSigning(powers.own.outbox, base_url).forget()
    powers.own.audit.append("platform.unsigned_accepted", who=caller.name, target=base_url, durable=True)
    powers.record_ready()
    return {"answers_signed": False}


def _clock(powers: Powers) -> dict[str, Any]:
    own = powers.own
    return {
        "now": rfc3339(own.clock.now().replace(microsecond=0)),
        "trust": own.time.trust().value,
        "believed": own.clock_trusted(),
        "held": sum(Hold.CLOCK in held.holds for held in own.outbox.held()),
    }


def _accept_clock(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Take the clock as it is, by a person's word; an implausible last time is overruled by it."""
    own = powers.own
    if own.clock.now() < EARLIEST:
        raise AgentError("E7505", received=own.clock.now().isoformat(timespec="seconds"))
    own.accept_time()
    own.audit.append("clock.accepted", who=caller.name, target="clock", durable=True)
    powers.record_changed()
    powers.record_ready()
    return _clock(powers)


def _set_time(powers: Powers, record: str, text: str, caller: Caller) -> dict[str, Any]:
    """Give a record the time that a person remembers: its boot's clock was never known."""
    own, at = powers.own, _moment(text)
    verification = own.outbox.verification(record)
    if verification.clock_trusted:
        raise AgentError("E7504", record=record)
    if at > own.clock.now():
        raise AgentError("E7505", received=text[:40])
    own.outbox.supplement(record, Supplement(VERIFIED_AT, at.isoformat(), caller.name, own.clock.now()))
    own.audit.append("record.supplemented", who=caller.name, target=record, field=VERIFIED_AT, durable=True)
    powers.record_changed()
    return {"id": record, "verified_at": rfc3339(at)}


def _moment(text: str) -> datetime:
    for form in ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=SHANGHAI)
        except ValueError:
            continue
    raise AgentError("E7505", received=text[:40])
