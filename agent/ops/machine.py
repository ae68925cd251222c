"""What `doctor` looks at on the machine itself: our package, the disk, the clock, the journal."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

from agent import __version__, sm
from agent.clock import synchronised
from agent.config.schema import Config
from agent.ops.checking import GOOD, Found
from agent.outbox.space import BALLAST_BYTES, RESERVE_BYTES, free_bytes
from drivers.access import Account

OUR_NAMES = ("agent", "drivers")
DISTRIBUTION = "kiosk-agent"


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


def disk(state_dir: Path, account: Account) -> Found:
    """Say whether the state directory is there, writable and has room."""
    if not state_dir.exists():
        return "E8302", {"path": state_dir, "reason": "not there"}
    if os.statvfs(state_dir).f_flag & os.ST_RDONLY:
        return "E8302", {"path": state_dir, "reason": "read-only file system"}
    if os.geteuid() in {0, account.uid} and not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
        return "E8302", {"path": state_dir, "reason": f"not writable for {account.name}"}
    free = free_bytes(state_dir)
    return "E3119" if free < RESERVE_BYTES + BALLAST_BYTES else None, {"free": free}


def time_source() -> Found:
    """Say whether something keeps the clock right (NTP, PTP); the kernel knows."""
    return GOOD if synchronised() else ("W7502", {})


def journal(root: Path = Path("/")) -> Found:
    """Say whether the journal outlives a restart of the machine."""
    if (root / "var/log/journal").is_dir():
        return GOOD
    return ("W8603", {}) if (root / "run/log/journal").is_dir() else (None, {"journald": "none"})


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


def cipher() -> Mapping[str, str]:
    """Return which library computes SM3 and SM4."""
    return {"backend": sm.backend(), "gcm": str(sm.has_gcm()).lower()}
