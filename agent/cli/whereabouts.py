"""Where the daemon is to be asked although its configuration file cannot be read: broken, gone, closed to us.

A file that is wrong by now leaves the running daemon alone, and whoever looks has to hear of both. So the
text is searched for the one key that matters, and after that the kernel's list of sockets for a daemon that
says of itself that it runs by this very file.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from agent import lastrun
from agent.catalogue import AgentError
from agent.control.client import SYSTEM_SOCKET, SYSTEM_STATE, call

SOCKETS = Path("/proc/net/unix")
#: Of a line there: this flag says that somebody listens.
LISTENING = "00010000"
FIELDS = 8
#: A daemon that is busy for longer is not found here.
IDENTIFIED_S = 5.0
#: In either way of writing a mapping, with whatever an input method puts for quotes and colon.
LINE = r"(?:^|[{{,])[^\S\n]*[\"'“]?{key}[\"'”]?\s*[:：][^\S\n]*[\"'“‘]?([^\n\"'”’,}}]*)"


def said(raw: bytes, key: str) -> str | None:
    """Return what a file seems to say under a key of its outermost level, however broken it is."""
    found = re.search(LINE.format(key=key), _text(raw), re.MULTILINE)
    return None if found is None else re.split(r"\s#", found[1])[0].strip() or None


def _text(raw: bytes) -> str:
    encodings = ("utf-16",) if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else ("utf-8-sig", "gb18030")
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return raw.decode("utf-8", errors="replace")


def of_daemon(file: Path, sockets: Path = SOCKETS) -> Path | None:
    """Return the state directory of the daemon that runs by this file; None where none is found."""
    for state_dir in _listening(sockets, _believed(file)):
        # Whatever does not answer as a daemon of ours does is none, or none for this account.
        with contextlib.suppress(AgentError, OSError, ValueError, TypeError, AttributeError):
            runs_by = call(state_dir, "status", wait_s=IDENTIFIED_S).get("config_file")
            if runs_by is not None and os.path.realpath(runs_by) == os.path.realpath(file):
                return state_dir
    return None


def _believed(file: Path) -> set[int]:
    """Return whose word counts: anybody can listen somewhere and call himself the daemon."""
    believed = {0, os.geteuid()}
    for path in (file, file.parent):
        with contextlib.suppress(OSError):
            believed.add(path.stat().st_uid)
    return believed


def _listening(sockets: Path, believed: set[int]) -> Iterator[Path]:
    try:
        lines = sockets.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(maxsplit=FIELDS - 1)
        if len(fields) < FIELDS or fields[3] != LISTENING or not fields[-1].startswith("/"):
            continue
        path = Path(fields[-1])
        if path == SYSTEM_SOCKET:
            yield SYSTEM_STATE
        elif path.name == SYSTEM_SOCKET.name and _is_ours(path.parent, believed):
            yield path.parent


def _is_ours(folder: Path, believed: set[int]) -> bool:
    """Return whether this is a state directory: other programs are not spoken to."""
    try:
        return (folder / lastrun.NAME).exists() and folder.stat().st_uid in believed
    except OSError:
        return False
