"""`outbox list|show|find|stats|verify`: looking. Names and numbers only masked, or one by one on request."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from agent import masks
from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.records import Hold

#: More rows than this a person does not read; programs page with `limit`.
MAX_ROWS = 1000
#: What a person has to say before a record can be sent. Decoder, clock and device are told by themselves.
BY_A_PERSON = {
    "operator": frozenset({Hold.OPERATOR}),
    "field": frozenset({Hold.NATION, Hold.ADDRESS, Hold.ISSUER, Hold.FIELD}),
}
#: What one call of `verify` reads before it answers; the caller goes on from there.
VERIFY_BYTES = 64 * 2**20


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "outbox.stats": lambda _args, _caller: stats(powers),
        "outbox.list": lambda args, _caller: _list(powers, args),
        "outbox.show": lambda args, caller: _show(powers, args, caller),
        "outbox.find": lambda args, caller: _find(powers, str(args["number"]), caller),
        "outbox.verify": lambda args, _caller: _verify(powers, int(args.get("after", 0))),
    }


def stats(powers: Powers) -> dict[str, Any]:
    """Return the balance, the room, and what else is worth a graph."""
    outbox = powers.own.outbox
    room, counts = outbox.room(), outbox.counts()
    return {
        **asdict(counts),
        "waiting": counts.waiting,
        "given_up": counts.given_up,
        "limit": room.limit,
        "free": room.free,
        "ballast": room.ballast,
        "lost_keys": len(outbox.administration.lost_keys),
        "copied": outbox.copied,
        "followups": outbox.followups.count(),
    }


def held_back(powers: Powers) -> dict[str, Any]:
    """Return what records lack that a person has to say: of how many, and since when the oldest lacks it."""
    found: dict[str, Any] = {}
    held = powers.own.outbox.held()
    for lacking, holds in BY_A_PERSON.items():
        records = [record.id for record in held if holds & record.holds.keys()]
        if records:
            # One that was completed since is not there any more.
            with suppress(AgentError):
                oldest = powers.own.outbox.administration.row(records[0])
                found[lacking] = {"records": len(records), "since": oldest.created_at.isoformat()}
    return found


def _list(powers: Powers, args: Mapping[str, Any]) -> list[dict[str, Any]]:
    limit = min(int(args.get("limit", 50)), MAX_ROWS)
    rows = powers.own.outbox.administration.list_records(args.get("state"), limit)
    return [asdict(row) for row in rows]


def _show(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    own, record, reveal = powers.own, str(args["id"]), bool(args.get("reveal"))
    administration = own.outbox.administration
    found = {
        **asdict(administration.row(record)),
        "person": _person(powers, record, reveal=reveal),
        "attempts": [asdict(row) for row in administration.attempts(record)],
    }
    if reveal:
        own.audit.append("record.revealed", who=caller.name, target=record, durable=True)
    return found


def _person(powers: Powers, record: str, *, reveal: bool) -> dict[str, Any] | None:
    """Return who a record is about, masked unless revealed; None when it is erased or cannot be read."""
    try:
        facts = powers.own.outbox.verification(record)
    except AgentError:
        return None
    rule = powers.current().console.mask
    return {
        "name": facts.name if reveal else masks.name(facts.name, rule.name),
        "number": facts.number if reveal else masks.number(facts.number, rule.number),
        "result": facts.face.result.name.lower(),
        "verified_at": facts.verified_at,
    }


def _find(powers: Powers, number: str, caller: Caller) -> list[dict[str, Any]]:
    own = powers.own
    found = own.outbox.administration.find(own.pseudonyms.full(number))
    own.audit.append(
        "record.searched",
        who=caller.name,
        target=own.pseudonyms.of(number),
        found=str(len(found)),
        durable=True,
    )
    return [asdict(row) for row in found]


def _verify(powers: Powers, after: int) -> dict[str, Any]:
    """Read on from `after`. `next` is None when everything has been read."""
    administration = powers.own.outbox.administration
    faults, checked, left, following = [], 0, VERIFY_BYTES, None
    for one in administration.check(after):
        checked += 1
        left -= one.size
        if one.code is not None:
            faults.append({"id": one.record, "code": one.code})
        if left <= 0:
            following = one.seq
            break
    # Once, with the last part: the desk's records wait meanwhile.
    tables = administration.check_tables() if following is None else None
    return {"checked": checked, "faults": faults, "next": following, "tables": tables}
