"""The control socket: JSON lines on a Unix socket, and the same verbs in-process where no daemon runs."""

from __future__ import annotations

from agent.control.client import NotRunning, call
from agent.control.protocol import Caller, Handler
from agent.control.server import ControlServer

__all__ = ["Caller", "ControlServer", "Handler", "NotRunning", "call"]
