"""What the page does: the very verbs of the control socket, under the name of whoever is signed in."""

from __future__ import annotations

import os
from typing import Any

from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller
from agent.control.verbs import handlers

#: What the trail is told where nobody has signed in.
NOBODY = "page"


class Acts:
    """The verbs, called on behalf of the page."""

    def __init__(self, powers: Powers) -> None:
        self._powers = powers
        self._verbs = handlers(powers)

    def do(self, verb: str, **args: str | bool) -> Any:
        """Return a verb's result. AgentError as the verb raises it."""
        return self._verbs[verb](args, self.caller())

    def operator(self) -> str:
        """Return who operates the desk now, "" for nobody."""
        operators = self._powers.operators
        return "" if operators is None else operators.in_force() or ""

    def caller(self) -> Caller:
        """Return under whom the trail notes what is done here."""
        return Caller(os.getuid(), os.getpid(), self.operator() or NOBODY)

    def named(self) -> str:
        """Return the operator's name, where somebody has to answer for it. AgentError E8414 for nobody."""
        if not self.operator():
            raise AgentError("E8414")
        return self.caller().name
