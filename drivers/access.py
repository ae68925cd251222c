"""Why a device node cannot be had: who holds it, and which right is lacking."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

RULES = "systemd/60-kiosk-agent.rules"


def holders(node: Path, proc: Path = Path("/proc")) -> list[str]:
    """Return the other processes that have `node` open, as "name (pid)".

    Without root only the user's own processes can be looked into; the others stay unseen.
    """
    target, found = os.path.realpath(node), []
    for folder in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        if int(folder.name) != os.getpid() and _holds(folder, target):
            found.append(f"{_name(folder)} ({folder.name})")
    return found


def _holds(folder: Path, target: str) -> bool:
    try:
        descriptors = list((folder / "fd").iterdir())
    except OSError:
        return False
    return any(_link(descriptor) == target for descriptor in descriptors)


def _link(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""


def _name(folder: Path) -> str:
    try:
        return (folder / "comm").read_text("utf-8", errors="replace").strip()
    except OSError:
        return "?"


def lacking(node: Path) -> str | None:
    """Return which right to `node` is missing and who gives it; None when it may be read and written."""
    if os.access(node, os.R_OK | os.W_OK):
        return None
    try:
        status = node.stat()
    except OSError:
        return "not there"
    group, user = _group(status.st_gid), _user()
    open_to_group = status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) == stat.S_IRGRP | stat.S_IWGRP
    if open_to_group and status.st_gid != 0 and status.st_gid not in os.getgroups():
        return f"{user} is not in the group {group}"
    return f"mode {stat.S_IMODE(status.st_mode):04o} of {group} shuts {user} out; install {RULES}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
