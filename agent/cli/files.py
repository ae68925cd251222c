"""Files that verbs write: for their owner alone, and never silently over one that is there.

`--force` writes over what can be made again. Exports and backups of keys have none: the file that is there
may be the only copy of what it holds.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.catalogue import AgentError

F = TypeVar("F", bound=Callable[..., Any])


def force_option(function: F) -> F:
    """Add --force: write over a file that is there."""
    return click.option("--force", is_flag=True, help="覆盖已有文件 / write over a file that is there")(
        function
    )


def refuse(out: Path | None, *, force: bool) -> None:
    """Refuse a file that is there before anybody is asked for anything. AgentError E8309."""
    if out is not None and not force and os.path.lexists(out):
        raise AgentError("E8309", path=out)


def refuse_for_good(out: Path) -> None:
    """Refuse a file that is there, whatever is said: for what --force does not exist. AgentError E8316."""
    if os.path.lexists(out):
        raise AgentError("E8316", path=out)


def written(out: Path, content: bytes, *, force: bool) -> None:
    """Write a file, whole or not at all. AgentError: E8309 it is there, E8308 it cannot be written."""
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL), 0o600)
    except FileExistsError as error:
        raise AgentError("E8309", path=out) from error
    except OSError as error:
        raise AgentError("E8308", path=out, reason=error.strerror) from error
    file_of_ours = stat.S_ISREG(os.fstat(descriptor).st_mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if file_of_ours:
                # One that was there may have been open to others.
                os.fchmod(descriptor, 0o600)
            file.write(content)
    except OSError as error:
        # Half a file would be taken for a whole one.
        with contextlib.suppress(OSError):
            if file_of_ours:
                out.unlink()
        raise AgentError("E8308", path=out, reason=error.strerror) from error
