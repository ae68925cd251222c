"""`audit verify|show`: the trail, read by whoever owns it, because its key is the daemon's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agent.audit import Head
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler

MAX_LINES = 1000


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "audit.verify": lambda args, _caller: _verify(powers, args),
        "audit.show": lambda args, _caller: _show(powers, args),
        "bundle.made": lambda args, caller: _bundle(powers, args, caller),
        "audit.acknowledge": lambda args, caller: _acknowledge(powers, args, caller),
    }


def _verify(powers: Powers, args: Mapping[str, Any]) -> dict[str, Any]:
    """Check a part. `next` is None at the end; else the caller goes on with it and `head`."""
    after = Head(int(args["head"]["seq"]), str(args["head"]["mac"])) if "head" in args else None
    report = powers.own.audit.verify_part(int(args.get("next", 0)), after)
    return {**asdict(report), "alarm": powers.own.audit_alarm()}


def _show(powers: Powers, args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the last lines, all or those of one kind, object or person."""
    wanted = {key: str(args[key]) for key in ("what", "object", "who") if args.get(key)}

    def fits(line: dict[str, Any]) -> bool:
        return all(str(line.get(key, "")).startswith(value) for key, value in wanted.items())

    return powers.own.audit.select(min(int(args.get("last", 50)), MAX_LINES), fits)


def _acknowledge(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    own, alarm = powers.own, powers.own.audit_alarm()
    if alarm is not None:
        own.audit.append(
            "audit.acknowledged",
            who=caller.name,
            target="audit",
            result=alarm["code"],
            reason=str(args["reason"])[:200],
            durable=True,
        )
        own.acknowledge_audit()
    return {"acknowledged": alarm}


def _bundle(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    powers.own.audit.append(
        "bundle.made", who=caller.name, target="bundle", files=str(int(args["files"])), durable=True
    )
    return {}
