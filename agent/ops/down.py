"""How things are while the daemon is down, and why it is: from what it left behind and from systemd.

Without keys, and without checking the configuration where it is the very file that the last daemon took over:
`status` is typed often, and asked for every minute.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent import __version__, inservice, lastrun
from agent.catalogue import AgentError
from agent.clock import Memory, SystemClock, Trust, TrustedClock, as_json, stored_time
from agent.control.client import SYSTEM_STATE
from agent.lastrun import LastRun
from agent.ops import host
from agent.ops.glance import Glance, glance
from agent.recall import recalled, recalled_fault

UNIT = "kiosk-agent.service"
#: Of these conditions nothing is known here; `doctor` owns the state directory for a moment and tells them.
NOT_KNOWN = {
    "face": "which engine and threshold are meant only the configuration says",
    "file": "nothing is in force that the file could differ from; its faults are told as such",
    "operator": "what a record lacks is read by the outbox's owner",
    "fields": "what a record lacks is read by the outbox's owner",
    "key files": "whose the keys are only the configuration says",
    "registration": "whether the device registers only the configuration says; one out of service is told",
}
PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "UnitFileState")
COMMAND_S = 3.0
#: A daemon that starts, or a command, has the directory for a moment.
PATIENCE_S = 5.0


def why(state_dir: Path) -> Iterator[dict[str, Any]]:
    """Yield what is known of why no daemon runs on a state directory, as codes with their facts."""
    found = reasons(lastrun.read(state_dir), unit() if state_dir == SYSTEM_STATE else {})
    # Of a folder that is closed to us nobody can say that no daemon ever ran there.
    closed = state_dir.exists() and not os.access(state_dir, os.X_OK, effective_ids=True)
    yield from (reason for reason in found if not (closed and reason["code"] == "W8611"))


def report(state_dir: Path, max_bytes: int, config_hash: str) -> dict[str, Any]:
    """Return the same members as the daemon's own answer; what only a daemon knows is empty or null."""
    made: dict[str, Any] = {
        "version": __version__,
        "daemon": False,
        "down": list(why(state_dir)),
        "topics": {},
        "told": {},
        "loops": [],
        "face": dict.fromkeys(("model", "threshold", "accepted", "code")),
        "config_hash": config_hash,
        "config_file": None,
        "on_file": None,
        "machine": host.look(state_dir),
    }
    try:
        seen = glance(state_dir, PATIENCE_S)
    except AgentError as error:
        return {**made, "error": {"code": error.code, "facts": dict(error.facts)}}
    return made if seen is None else {**made, **_seen(seen, max_bytes)}


def _seen(seen: Glance, max_bytes: int) -> dict[str, Any]:
    trust = _clock(seen.settings)
    found = {
        "queue": seen.stats(max_bytes),
        "clock_trusted": trust.believed,
        "clock_trust": trust.value,
        "interrupted": seen.interrupted,
        "kek": seen.kek,
        "keys": seen.keys(),
        "audit_alarm": recalled_fault(seen.settings.get("audit_alarm")),
        "device": _device(seen.settings),
    }
    # As over the socket: times are text.
    plain: dict[str, Any] = json.loads(json.dumps(found, default=as_json))
    return plain


def _device(settings: Mapping[str, str]) -> dict[str, Any]:
    """Return what is known of a device out of service. Which one is configured now only its file says."""
    for device_no, word in inservice.devices_out(settings).items():
        return {"device": device_no, "status": word.status, "out_of_service_since": word.at}
    return {}


def _clock(settings: Mapping[str, str]) -> Trust:
    last = settings.get("last_time")
    memory = Memory(
        lambda: recalled(last, stored_time),
        lambda: settings.get("boots"),
        lambda _text: None,
    )
    return TrustedClock(SystemClock(), memory).trust()


# --- why it is down ---------------------------------------------------------------------------------


def reasons(last: LastRun | None, unit: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield what is known of why no daemon runs, as codes with their facts."""
    if last is None:
        yield _coded("W8611")
    elif last.ended_at is None:
        yield _coded("E8614", started=last.started_at)
    elif last.code is None:
        yield _coded("W8612", at=last.ended_at)
    else:
        yield _coded("E8613", at=last.ended_at, cause=last.code)
        yield _coded(last.code, **last.facts)
    if unit.get("LoadState") == "loaded":
        yield _coded(
            "W8615",
            state=f"{unit['ActiveState']}/{unit['SubState']}",
            result=unit["Result"],
            status=unit["ExecMainStatus"],
            enabled=unit["UnitFileState"] or "-",
        )


def _coded(code: str, **facts: str) -> dict[str, Any]:
    return {"code": code, "facts": facts}


def unit() -> dict[str, str]:
    """Return what systemd says of the service; empty where there is no systemd, or it does not answer."""
    command = ["systemctl", "show", UNIT, f"--property={','.join(PROPERTIES)}"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    found = dict(line.split("=", 1) for line in run.stdout.splitlines() if "=" in line)
    return found if found.keys() >= set(PROPERTIES) else {}
