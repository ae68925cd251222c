"""What `doctor` looks at in the outbox and among the keys, through the verbs of whoever owns them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent import sm
from agent.ops.checking import GOOD, Found
from agent.outbox import sealing
from agent.outbox.space import ALARMS

#: Of this much a record is made: two pictures and the facts.
RECORD_BYTES = 500_000
#: A desk waits half a second for sealing at the most.
SLOW_SEAL_S = 0.5
#: A platform that is down over night is no finding; one that took nothing for a day is.
OLD_H = 24.0


def sealing_cost() -> Found:
    """Seal what a record is made of, once, and say what it took."""
    key = sealing.Key(bytes(sealing.KEY_BYTES), 0)
    # The fallback cipher is slow and its cost linear: a tenth tells.
    share = 1 if sm.has_gcm() else 10
    started = time.perf_counter()
    sealing.seal(key, bytes(RECORD_BYTES // share), "doctor")
    took_s = (time.perf_counter() - started) * share
    code = "W7308" if took_s > SLOW_SEAL_S else None
    return code, {"ms": round(1000 * took_s), "suite": sealing.default_suite()}


def balance(queue: Mapping[str, Any]) -> Found:
    """Say whether every record is accounted for."""
    return "E3108" if queue["difference"] else None, {"difference": queue["difference"]}


def age(queue: Mapping[str, Any], now: datetime) -> Found:
    """Say how long the oldest record has waited."""
    oldest = queue["oldest_waiting"]
    if oldest is None:
        return None, {"waiting": 0}
    hours = (now - datetime.fromisoformat(str(oldest))).total_seconds() / 3600
    told = {"waiting": queue["waiting"], "hours": f"{max(0.0, hours):.1f}"}
    return "W3150" if hours > OLD_H else None, told


def room(queue: Mapping[str, Any]) -> Found:
    """Say how full the outbox is."""
    share = queue["bytes"] / queue["limit"]
    return next((code for at, code in ALARMS if share >= at), None), {"share": round(100 * share)}


def some(code: str, records: int) -> Found:
    """Say that there are records in a state that wants a person."""
    return (code, {"records": records}) if records else GOOD


def keys(keys: Mapping[str, Any]) -> Found:
    """Say whether every record's key is there."""
    lost = keys["lost_epochs"]
    if not lost:
        return None, {"kek": keys["kek"]}
    return "E7301", {"epoch": ",".join(lost), "expected": ",".join(lost.values()), "received": keys["kek"]}


def key_files(keys: Mapping[str, Any]) -> Found:
    """Say whether keys lie beside what they seal."""
    return ("W7306", {"names": ",".join(keys["own_files"])}) if keys["own_files"] else GOOD
