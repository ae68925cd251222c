"""What `doctor` alone looks at on the machine: our package, the cipher's speed, our port."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import time
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

from agent import __version__, sm
from agent.config.schema import Config
from agent.ops.checking import Found
from agent.outbox import sealing
from drivers.access import Account

OUR_NAMES = ("agent", "drivers")
DISTRIBUTION = "kiosk-agent"
#: Of this much a record is made: two pictures and the facts.
RECORD_BYTES = 500_000
#: A desk waits half a second for sealing at the most.
SLOW_SEAL_S = 0.5


def package(account: Account) -> Found:
    """Say who and what runs here, and whether somebody else provides modules of our names."""
    for name, owners in _owners().items():
        if others := [owner for owner in owners if owner != DISTRIBUTION]:
            return "E8601", {"name": name, "owner": ", ".join(others)}
    facts = {"version": __version__, "python": platform.python_version(), "service": account.name}
    return None, {**facts, "asked_by": f"uid {os.geteuid()}"}


def _owners() -> Mapping[str, list[str]]:
    """Return who provides our two names: distributions, and a stray folder that would be imported first."""
    installed = packages_distributions()
    found = {name: sorted(set(installed.get(name, []))) for name in OUR_NAMES}
    home = Path(__file__).resolve().parents[2]
    for name in OUR_NAMES:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != home:
            found[name].append(str(origin))
    return found


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


def listening(config: Config, *, daemon: bool) -> Found:
    """Say whether console.listen is ours to take; the daemon itself says it when it runs."""
    host, _, port = config.console.listen.rpartition(":")
    if daemon or config.console.listen == "none":
        return None, {"listen": config.console.listen}
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            return "E8401", {"listen": config.console.listen, "reason": error.strerror}
    return None, {"listen": config.console.listen}
