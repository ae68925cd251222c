"""Ask the daemon; where none runs, become the owner and answer with the very same handler."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.clock import SystemClock
from agent.config.schema import Config
from agent.control import Caller, NotRunning, call
from agent.control.verbs import Powers, handlers
from agent.ownership import owning


def ask(config: Config, verb: str, args: Mapping[str, Any] | None = None) -> Any:
    """Return the verb's result. AgentError as the handler raised it, wherever it ran."""
    try:
        return call(Path(config.state_dir), verb, args or {})
    except NotRunning:
        with as_owner_of(Path(config.state_dir)), owning(config, SystemClock()) as own:
            return handlers(Powers(own))[verb](args or {}, Caller.of_this_process())


@contextmanager
def as_owner_of(state_dir: Path) -> Iterator[None]:
    """Act as the state directory's owner where root asks: a file of root's would lock the daemon out."""
    if os.geteuid() != 0 or not state_dir.exists() or state_dir.stat().st_uid == 0:
        yield
        return
    owner = state_dir.stat()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
