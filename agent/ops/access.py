"""Under which account the service opens its devices and files, and how root acts as it."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drivers.access import Account, ourselves

#: Groups that the unit gives the service beyond its own (SupplementaryGroups=).
UNIT_GROUPS = ("dialout", "video")
#: The package's user, and where its unit keeps the data.
SERVICE_USER = "kiosk-agent"
SERVICE_STATE = Path("/var/lib/kiosk-agent")


def account(uid: int) -> str:
    """Return what an account is called; its number where nobody knows."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def service_account(state_dir: Path) -> Account:
    """Return the account that the daemon runs under: the state directory's owner, ourselves without one."""
    try:
        uid = state_dir.stat().st_uid
    except OSError:
        uid = _before_the_first_start(state_dir)
    if uid == os.geteuid():
        return ourselves()
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, frozenset())
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


@contextmanager
def as_owner_of(state_dir: Path) -> Iterator[None]:
    """Act as the state directory's owner where root asks: a file of root's would lock the daemon out."""
    if not state_dir.exists():
        yield
        return
    with acting_as(service_account(state_dir)):
        yield


def _primary_group(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid
