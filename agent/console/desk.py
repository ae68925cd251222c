"""The page as the daemon wires it: its sessions live here, its blueprint is made when the server starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.console.session import CODE_S, Sessions
from agent.control.powers import Powers

if TYPE_CHECKING:
    from flask import Blueprint

_SESSIONS = "page_sessions"


class Page:
    """What `Console` hangs in as a part, and what the control socket asks for a code."""

    def __init__(
        self,
        powers: Powers,
        board: Board,
        clock: Clock,
        preview: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self._powers = powers
        self._board = board
        self._clock = clock
        self._preview = preview
        outbox = powers.own.outbox
        stored = outbox.setting(_SESSIONS)
        self.sessions = Sessions(clock, stored, lambda text: outbox.set_setting(_SESSIONS, text))

    def part(self, ending: threading.Event) -> Blueprint:
        """Return the page's blueprint; called in the server's thread."""
        from agent.console.behind import Behind
        from agent.console.page import blueprint

        behind = Behind(self._powers, self._board, self._clock, self.sessions, self._preview)
        return blueprint(behind, ending)

    def code(self, address: tuple[str, int] | None) -> Mapping[str, object]:
        """Return where the page is and a one-time code. AgentError E8408 while nobody listens."""
        if address is None:
            raise AgentError("E8408")
        host, port = address
        # A server that listens everywhere is asked on this machine.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound
        named = f"[{host}]" if ":" in host else host
        return {
            "url": f"http://{named}:{port}/open",
            "code": self.sessions.new_code(),
            "valid_s": int(CODE_S),
        }
