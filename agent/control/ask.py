"""Ask the daemon; where none runs, become the owner and answer with the very same handler."""

from __future__ import annotations

from collections.abc import Mapping
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
        with owning(config, SystemClock()) as own:
            return handlers(Powers(own))[verb](args or {}, Caller.of_this_process())
