"""Asking the daemon."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.catalogue import AgentError
from agent.control import protocol

#: A verb may wait for the disk; those few that ask the platform are waited for longer.
ANSWER_S = 30.0


class NotRunning(AgentError):
    """No daemon answers for this state directory."""

    code = "E8206"


def socket_path(state_dir: Path, env: Mapping[str, str] = os.environ) -> Path:
    """Return where the socket is: systemd's runtime directory, else the state directory."""
    runtime = env.get("RUNTIME_DIRECTORY")
    return (Path(runtime.split(":")[0]) if runtime else state_dir) / "control.sock"


#: Where systemd puts the runtime directory; a command typed by hand has no $RUNTIME_DIRECTORY.
SYSTEM_SOCKET = Path("/run/kiosk-agent/control.sock")
SYSTEM_STATE = Path("/var/lib/kiosk-agent")
#: Where packages put the unit; then systemd, not the file, says where the service keeps its data.
UNITS = (Path("/usr/lib/systemd/system/kiosk-agent.service"), Path("/etc/systemd/system/kiosk-agent.service"))


def call(state_dir: Path, verb: str, args: Mapping[str, Any] | None = None, wait_s: float = ANSWER_S) -> Any:
    """Return the verb's result. NotRunning when no daemon answers; AgentError with the daemon's code."""
    path = socket_path(state_dir)
    if state_dir == SYSTEM_STATE and not _there(path):
        path = SYSTEM_SOCKET
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(wait_s)
        try:
            connection.connect(str(path))
        except PermissionError as error:
            raise AgentError("E8207", path=path) from error
        except OSError as error:
            raise NotRunning(path=path) from error
        connection.sendall(
            protocol.encoded({"verb": verb, "args": dict(args or {}), "name": protocol.own_name()})
        )
        return protocol.result(_line(connection, wait_s))


def _there(path: Path) -> bool:
    """Look without being sure to be allowed: the state directory is closed to the group that may ask."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _line(connection: socket.socket, wait_s: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        try:
            data = connection.recv(65536)
        except TimeoutError as error:
            raise AgentError("E8208", seconds=wait_s) from error
        if not data:
            raise AgentError("E8208", seconds=0)
        received += data
    return bytes(received)
