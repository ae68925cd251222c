"""Who may use a device, and who does: asked on behalf of the account that the service runs under."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Groups that the unit gives the service beyond its own (SupplementaryGroups=).
UNIT_GROUPS = ("dialout", "video")
#: The package's user, and where its unit keeps the data.
SERVICE_USER = "kiosk-agent"
SERVICE_STATE = Path("/var/lib/kiosk-agent")


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
    """Return the account that the daemon runs under: the state directory's owner, ourselves without one."""
    uid = state_dir.stat().st_uid if state_dir.exists() else _before_the_first_start(state_dir)
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


def _before_the_first_start(state_dir: Path) -> int:
    with contextlib.suppress(KeyError):
        if state_dir == SERVICE_STATE and os.geteuid() == 0:
            return pwd.getpwnam(SERVICE_USER).pw_uid
    return os.geteuid()


@contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Act as an account where root asks: see what it may see, and make no file that locks it out.

    For the whole process: nothing else may be running in it.
    """
    if os.geteuid() != 0 or account.uid == 0:
        yield
        return
    groups = os.getgroups()
    with contextlib.suppress(PermissionError):  # a container may forbid it; then root's own are none too many
        os.setgroups(sorted(account.groups))
    os.setegid(_primary_group(account.uid))
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        with contextlib.suppress(PermissionError):
            os.setgroups(groups)


def _primary_group(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


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
