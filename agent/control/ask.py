"""Ask the daemon; where none runs, become the owner and answer with the very same handler."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.control.client import ANSWER_S, NotRunning, call
from agent.control.protocol import Caller, Handler
from agent.ops.access import as_owner_of

if TYPE_CHECKING:
    from agent.config import Config

#: A daemon opens its outbox within two seconds; salvage of a large file takes longer and says so itself.
PATIENCE_S = 10.0
#: For so long the lock is waited for before the socket is tried again.
TURN_S = 0.2


class Conversation:
    """Verb after verb with one owner: the daemon, else this process, which stays the owner until the end.

    For what is done piece by piece: opening an outbox takes a hundred times as long as a piece.
    """

    def __init__(self, config: Config) -> None:
        self._config, self._state_dir = config, Path(config.state_dir)
        self._ours = contextlib.ExitStack()
        self._handlers: Mapping[str, Handler] | None = None

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_error: object) -> None:
        with as_owner_of(self._state_dir):
            self._ours.close()

    def ask(self, verb: str, args: Mapping[str, Any] | None = None, wait_s: float = ANSWER_S) -> Any:
        """Return the verb's result. AgentError as the handler raised it, wherever it ran.

        An owner that does not listen yet - a daemon that starts, another command - is waited for.
        """
        deadline = time.monotonic() + PATIENCE_S
        while self._handlers is None:
            with contextlib.suppress(NotRunning):
                return call(self._state_dir, verb, args or {}, wait_s)
            try:
                with as_owner_of(self._state_dir):
                    self._handlers = self._own()
            except AgentError as error:
                if error.code != "E8301" or time.monotonic() > deadline:
                    raise
        with as_owner_of(self._state_dir):
            return self._handlers[verb](args or {}, Caller.of_this_process())

    def _own(self) -> Mapping[str, Handler]:
        # Imported here: beside a daemon, which has all of it, a command needs nothing of it.
        from agent.control.verbs import Powers, handlers
        from agent.ownership import owning

        return handlers(Powers(self._ours.enter_context(owning(self._config, SystemClock(), TURN_S))))


def ask(config: Config, verb: str, args: Mapping[str, Any] | None = None, wait_s: float = ANSWER_S) -> Any:
    """Return one verb's result, as `Conversation.ask` does."""
    with Conversation(config) as conversation:
        return conversation.ask(verb, args, wait_s)


def ask_installed(config: Config, verb: str, args: Mapping[str, Any] | None = None) -> Any:
    """Return what `ask` does; None, and nothing made, where there is neither a daemon nor an audit trail."""
    from agent.ownership import TRAIL

    state_dir = Path(config.state_dir)
    with contextlib.suppress(NotRunning):
        return call(state_dir, verb, args or {}, ANSWER_S)
    try:
        there = (state_dir / TRAIL).exists()
    except PermissionError:
        there = False  # whoever may not look there is neither its owner nor root
    return ask(config, verb, args) if there else None
