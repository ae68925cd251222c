"""`outbox retry|amend|discard|purge|adopt`: every change under the name of the person who asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.hmpt import entered
from agent.outbox import this_machine
from agent.records import ENTERED, Hold, PictureKind, Verification
from agent.verify import lacking

MAX_REASON = 200
#: So many records one question sends again: each is a synced commit and a line of the trail.
AT_ONCE = 50


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "outbox.retry": lambda args, caller: _retry(powers, str(args["id"]), caller),
        "outbox.retry_all": lambda args, caller: _retry_all(
            powers, str(args["code"]), int(args["after"]), caller
        ),
        "outbox.amendable": lambda args, _caller: _amendable(powers, str(args["id"])),
        "outbox.amend": lambda args, caller: _amend(powers, str(args["id"]), dict(args["changes"]), caller),
        "outbox.discardable": lambda args, _caller: _discardable(powers, str(args["id"])),
        "outbox.discard": lambda args, caller: _discard(powers, str(args["id"]), str(args["why"]), caller),
        "outbox.purge": lambda _args, caller: _purge(powers, caller),
        "outbox.adopt": lambda _args, caller: _adopt(powers, caller),
    }


def _retry(powers: Powers, record: str, caller: Caller) -> dict[str, Any]:
    state = powers.own.outbox.administration.retry(record)
    powers.own.audit.append("record.retried", who=caller.name, target=record, durable=True)
    powers.record_ready()
    return {"id": record, "state": state}


def _retry_all(powers: Powers, code: str, after: int, caller: Caller) -> dict[str, Any]:
    """Send some of what was set aside with a code again; `next` is where to go on, None at the end.

    A record that still cannot be read, or that somebody else has just dealt with, stays and is told with its
    own code.
    """
    found = powers.own.outbox.administration.set_aside_with(code, after, AT_ONCE)
    records: list[dict[str, Any]] = []
    for _, record in found:
        try:
            records.append(_retry(powers, record, caller))
        except AgentError as error:
            records.append({"id": record, "state": None, "code": error.code})
    return {"records": records, "next": found[-1][0] if len(found) == AT_ONCE else None}


def _amendable(powers: Powers, record: str) -> dict[str, Any]:
    """Look before anybody is asked for a value. AgentError as correcting the record would raise it."""
    powers.own.outbox.administration.amendable(record)
    return {"id": record}


def _amend(powers: Powers, record: str, changes: Mapping[str, object], caller: Caller) -> dict[str, Any]:
    """Let a corrected record take a refused one's place, by the conventions in force."""
    config = powers.current()
    forbidden = sorted(set(changes) - set(ENTERED))
    if forbidden or not changes:
        raise AgentError("E3123", fields=", ".join(forbidden) or "-", allowed=", ".join(ENTERED))

    def correct(original: Verification) -> Mapping[str, str]:
        return entered.values(original, changes, config.platform.conventions)

    def holds(corrected: Verification, pictures: Mapping[PictureKind, bytes]) -> Mapping[Hold, str]:
        return lacking(corrected, pictures, config.platform.conventions, config.images.max_base64_chars)

    own = powers.own
    new, state = own.outbox.administration.amend(record, correct, holds, caller.name)
    # Which fields, never their values: the trail names nobody.
    fields = ",".join(sorted(changes))
    own.audit.append("record.superseded", who=caller.name, target=record, by=new, durable=True)
    own.audit.append("record.amended", who=caller.name, target=new, fields=fields, durable=True)
    powers.record_ready()
    powers.record_changed()
    return {"id": new, "state": state, "supersedes": record}


def _discardable(powers: Powers, record: str) -> dict[str, Any]:
    """Look before anybody is asked for a reason. AgentError as giving the record up would raise it."""
    powers.own.outbox.administration.discardable(record)
    return {"id": record}


def _discard(powers: Powers, record: str, why: str, caller: Caller) -> dict[str, Any]:
    # What controls a terminal would act on whoever reads it in `show`.
    reason = "".join(one if one.isprintable() else " " for one in why)
    reason = " ".join(reason.split())[:MAX_REASON]
    if not reason:
        raise AgentError("E3126")
    powers.own.outbox.administration.discard(record, caller.name, reason)
    powers.own.audit.append("record.discarded", who=caller.name, target=record, reason=reason, durable=True)
    return {"id": record, "state": "discarded"}


def _purge(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Erase the personal data of whatever is finished, without waiting for the grace time."""
    # A day ahead, behind which it is a wrong clock's: of the clock that was put back since as well.
    erased = powers.own.outbox.upkeep.erase(-timedelta(days=1), trusted=True)
    powers.own.audit.append(
        "outbox.purged", who=caller.name, target="outbox", records=str(erased), durable=True
    )
    return {"erased": erased}


def _adopt(powers: Powers, caller: Caller) -> dict[str, Any]:
    powers.own.outbox.administration.adopt(this_machine())
    powers.own.audit.append("outbox.adopted", who=caller.name, target="machine", durable=True)
    return {"adopted": True}
