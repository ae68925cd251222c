"""Why a device cannot be had: which right an account lacks, and who holds it.

Asked on behalf of ourselves, or of the account that will open the device: what root types looks with the
service's eyes.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

RULES = "/usr/lib/udev/rules.d/60-kiosk-agent.rules"


@dataclass(frozen=True)
class Account:
    """Somebody who opens devices."""

    name: str
    uid: int
    groups: frozenset[int]


@dataclass(frozen=True)
class Holder:
    """A process that has a device open."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"


# --- rights -----------------------------------------------------------------------------------------


def ourselves() -> Account:
    """Return the account that this process runs under."""
    uid = os.geteuid()
    return Account(user_name(uid), uid, frozenset([*os.getgroups(), os.getegid()]))


def user_name(uid: int) -> str:
    """Return an account's name, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


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


def unusable(folder: Path, account: Account | None = None) -> str | None:
    """Return what keeps an account, ourselves without one, from emptying a folder; None when nothing does."""
    try:
        status = folder.stat()
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return os.strerror(errno.EROFS)
    except OSError as error:
        return error.strerror
    if not stat.S_ISDIR(status.st_mode):
        return os.strerror(errno.ENOTDIR)
    if account is None or account.uid == os.geteuid():
        may = os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
    else:
        may = may_use(status.st_mode, status.st_uid, status.st_gid, account.uid, account.groups)
    return None if may else os.strerror(errno.EACCES)


def lacking(node: Path, account: Account | None = None) -> str | None:
    """Return which right to `node` an account lacks, and who gives it; None when it may read and write it.

    Without `account` that of ourselves, for whom the kernel is asked: it knows of access lists as well.
    """
    who = account or ourselves()
    try:
        status = node.stat()
    except OSError:
        return "not there"
    mode, group = status.st_mode, status.st_gid
    asked = account is None or account.uid == os.geteuid()
    if (
        os.access(node, os.R_OK | os.W_OK)
        if asked
        else may_use(mode, status.st_uid, group, who.uid, who.groups)
    ):
        return None
    open_to_group = mode & (stat.S_IRGRP | stat.S_IWGRP) == stat.S_IRGRP | stat.S_IWGRP
    if open_to_group and group != 0 and group not in who.groups:
        return f"{who.name} is not in the group {_group(group)}"
    return f"mode {stat.S_IMODE(mode):04o} of {_group(group)} shuts {who.name} out; install {RULES}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


# --- holders ----------------------------------------------------------------------------------------


def holders(node: Path, proc: Path = Path("/proc")) -> list[Holder]:
    """Return the other processes that have `node` open, by their numbers.

    Without root only the user's own processes can be looked into; the others stay unseen.
    """
    target = os.path.realpath(node)
    others = sorted(int(folder.name) for folder in proc.glob("[0-9]*") if int(folder.name) != os.getpid())
    return [Holder(pid, _name(proc / str(pid))) for pid in others if _holds(proc / str(pid), target)]


def named(found: Collection[Holder]) -> str:
    """Return who holds a device, in words; there is somebody even where none was seen."""
    return ", ".join(str(holder) for holder in found) or "another program"


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
