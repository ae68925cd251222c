"""Who may use a device, and who does: asked on behalf of the account that the service runs under."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

#: Groups that the unit gives the service beyond its own (SupplementaryGroups=).
UNIT_GROUPS = ("dialout", "video")


@dataclass(frozen=True)
class Account:
    """Somebody who opens devices."""

    name: str
    uid: int
    groups: frozenset[int]


@dataclass(frozen=True)
class Holder:
    """A process that has a file open."""

    pid: int
    name: str


def service_account(state_dir: Path) -> Account:
    """Return the state directory's owner, under whom the daemon runs; ourselves where there is none."""
    uid = state_dir.stat().st_uid if state_dir.exists() else os.geteuid()
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, frozenset())
    if uid == os.geteuid():
        return Account(known.pw_name, uid, frozenset([*os.getgroups(), os.getegid()]))
    groups = set(os.getgrouplist(known.pw_name, known.pw_gid))
    for name in UNIT_GROUPS:
        with contextlib.suppress(KeyError):
            groups.add(grp.getgrnam(name).gr_gid)
    return Account(known.pw_name, uid, frozenset(groups))


def may_use(mode: int, owner: int, group: int, uid: int, groups: Collection[int]) -> bool:
    """Return whether an account may read and write a file: the first class that it belongs to decides."""
    if uid == 0:
        return True
    both = stat.S_IRUSR | stat.S_IWUSR
    if uid == owner:
        return mode & both == both
    if group in groups:
        return mode & (both >> 3) == both >> 3
    return mode & (both >> 6) == both >> 6


def wanted(path: Path, account: Account) -> str | None:
    """Return what keeps `account` from using a device, None when nothing does."""
    found = path.stat()
    if may_use(found.st_mode, found.st_uid, found.st_gid, account.uid, account.groups):
        return None
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return f"{account.name} not in group {group} ({stat.filemode(found.st_mode)})"


def holders(path: Path, proc: Path = Path("/proc")) -> list[Holder]:
    """Return the other processes that have a device open, as far as we may look."""
    device = os.path.realpath(path)
    found = []
    for process in proc.iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if any(os.path.realpath(fd) == device for fd in (process / "fd").iterdir()):
                name = (process / "comm").read_text("utf-8", errors="replace").strip()
                found.append(Holder(int(process.name), name))
    return found
