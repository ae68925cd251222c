"""`doctor`: every check in the order in which one depends on the other, each with what to do about it.

A check returns a code of the catalogue or None. What cannot be looked at because something before it
failed is said to follow from that, not to be broken itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import sm
from agent.outbox import sealing
from agent.outbox.space import BALLAST_BYTES, RESERVE_BYTES, free_bytes

#: Of this much a record is made: two pictures and the facts.
RECORD_BYTES = 500_000
#: A desk waits half a second for sealing at the most.
SLOW_SEAL_S = 0.5


@dataclass(frozen=True)
class Result:
    """One check: `code` is None when all is well; `follows` when it could not be made."""

    check: str
    code: str | None
    facts: Mapping[str, str]
    follows: bool = False


Ask = Callable[[str], Any]


def examine(state_dir: Path, ask: Ask) -> list[Result]:
    """Make every check. `ask` is a verb of the control socket, answered by whoever owns the directory."""
    free = free_bytes(state_dir) if state_dir.exists() else 0
    results = [
        Result("disk", "E3119" if free < RESERVE_BYTES + BALLAST_BYTES else None, {"free": str(free)}),
        _sealing_cost(),
    ]
    try:
        queue, keys = ask("outbox.stats"), ask("keys.state")
    except Exception as error:  # noqa: BLE001 -- whatever stands in the way is itself the finding
        code = getattr(error, "code", "E8203")
        facts = getattr(error, "facts", {"cause": type(error).__name__})
        results.append(Result("database", code, facts))
        return [*results, *(Result(name, None, {}, follows=True) for name in ("queue", "keys", "backup"))]
    results.append(Result("database", None, {}))
    return [*results, *_queue(queue), *_keys(keys)]


def _queue(queue: Mapping[str, Any]) -> list[Result]:
    share = queue["bytes"] / queue["limit"]
    full = next(
        (code for at, code in ((0.95, "E3118"), (0.85, "W3117"), (0.7, "W3116")) if share >= at), None
    )
    return [
        Result("balance", "E3108" if queue["difference"] else None, {"difference": str(queue["difference"])}),
        Result("room", full, {"share": str(round(100 * share))}),
        Result(
            "unreadable", "E3127" if queue["quarantined"] else None, {"records": str(queue["quarantined"])}
        ),
        Result("refused", "W3128" if queue["parked"] else None, {"records": str(queue["parked"])}),
        Result("machine", "E3122" if queue["copied"] else None, {}),
    ]


def _keys(keys: Mapping[str, Any]) -> list[Result]:
    lost = keys["lost_epochs"]
    received = {"epoch": ",".join(lost), "expected": ",".join(lost.values()), "received": keys["kek"]}
    return [
        Result("keys", "E7301" if lost else None, received if lost else {}),
        Result("key files", "W7306" if keys["own_files"] else None, {"names": ",".join(keys["own_files"])}),
        Result("backup", None if keys["backed_up"] else "W7307", {}),
    ]


def _sealing_cost() -> Result:
    """Seal what a record is made of, once, and say what it took."""
    key = sealing.Key(bytes(sealing.KEY_BYTES), 0)
    # The fallback cipher is slow and its cost linear: a tenth tells.
    share = 1 if sm.has_gcm() else 10
    started = time.perf_counter()
    sealing.seal(key, bytes(RECORD_BYTES // share), "doctor")
    took_s = (time.perf_counter() - started) * share
    code = "W7308" if took_s > SLOW_SEAL_S else None
    return Result("sealing", code, {"ms": str(round(1000 * took_s)), "suite": str(sealing.default_suite())})
