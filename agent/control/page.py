"""`page.open`: a one-time code for whoever may use the control socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {"page.open": lambda _args, caller: _open(powers, caller)}


def _open(powers: Powers, caller: Caller) -> Mapping[str, Any]:
    """Return where the page is and the code that opens it. AgentError E8408 while nobody serves it."""
    if powers.page_code is None:
        raise AgentError("E8408")
    opened = powers.page_code()
    powers.own.audit.append("page.opened", who=caller.name, target="page", durable=True)
    return opened
