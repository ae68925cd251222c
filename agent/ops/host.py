"""What anybody may see of the machine at a glance: the disk, a source of time, where the journal is kept.

Light enough for `status`: nothing is opened and nobody is waited for.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from agent.clock import synchronised
from agent.ops.access import service_account

BALLAST = "ballast"
#: No daemon has made the state directory yet, or the disk that holds it is not mounted.
NOT_THERE = "not there"


def look(state_dir: Path, root: Path = Path("/")) -> dict[str, Any]:
    """Return what `conditions` goes by; what this account is not allowed to see is None.

    `hindrance`: what keeps the service from using its state directory. `free`: bytes there. `journal`:
    persistent, memory (lost at a restart) or none.
    """
    return {
        "state_dir": str(state_dir),
        **_state(state_dir),
        "time_source": synchronised(),
        "journal": journal(root),
    }


def _state(state_dir: Path) -> dict[str, Any]:
    try:
        mode, room = state_dir.stat().st_mode, os.statvfs(state_dir)
    except FileNotFoundError:
        return {"hindrance": NOT_THERE, "free": None, "ballast": None}
    except OSError:
        return {"hindrance": None, "free": None, "ballast": None}
    hindrance = None
    account = service_account(state_dir)
    if room.f_flag & os.ST_RDONLY:
        hindrance = "read-only file system"
    elif account.uid != 0 and mode & stat.S_IRWXU != stat.S_IRWXU:
        hindrance = f"not writable for {account.name}"
    return {"hindrance": hindrance, "free": room.f_bavail * room.f_frsize, "ballast": _stands(state_dir)}


def _stands(state_dir: Path) -> bool | None:
    try:
        return (state_dir / BALLAST).exists()
    except PermissionError:
        return None


def journal(root: Path = Path("/")) -> str:
    """Return where journald keeps what it is told."""
    if (root / "var/log/journal").is_dir():
        return "persistent"
    return "memory" if (root / "run/log/journal").is_dir() else "none"
