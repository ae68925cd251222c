"""journald's native protocol: one datagram an event, each fact a field that `journalctl FIELD=value` finds.

Field by field `NAME=value` and a line feed; a value with line feeds in it as `NAME`, line feed, its length as
eight bytes little-endian, value, line feed (systemd, "Native Journal Protocol"). No library: the bindings
need headers and a compiler on each kiosk, and the whole of it is this page.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
#: The agent's own namespace: the same code has the same MESSAGE_ID on every kiosk and in every version.
NAMESPACE = uuid.UUID("6d2b7a4e-91c3-5f0e-8a57-3c1d0e9b42f6")
IDENTIFIER = "kiosk-agent"
#: A datagram fits the kernel's send buffer (212,992 bytes by default) with room to spare.
MAX_VALUE = 32 * 1024
#: Facts that have a name of their own in the journal; every other one is AGENT_ and its name.
NAMES = {"record": "RECORD", "request": "REQUEST"}
_NOT_A_NAME = re.compile(r"[^A-Z0-9_]")


def message_id(code: str) -> str:
    """Return the MESSAGE_ID of a code, 32 hex digits, derived and so never to be looked up."""
    return uuid.uuid5(NAMESPACE, code).hex


def field_name(fact: str) -> str:
    """Return under which field a fact stands: RECORD, REQUEST, else AGENT_ and the name in capitals."""
    return NAMES.get(fact) or ("AGENT_" + _NOT_A_NAME.sub("_", fact.upper()))[:64]


def encoded(fields: Mapping[str, str]) -> bytes:
    """Return one event as a datagram. Values are cut at MAX_VALUE bytes."""
    parts = []
    for name, text in fields.items():
        value = text.encode("utf-8", "replace")[:MAX_VALUE]
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)


def ours(descriptor: int, env: Mapping[str, str] = os.environ) -> bool:
    """Return whether systemd has connected this descriptor to the journal (systemd.exec(5), JOURNAL_STREAM).

    The variable alone is inherited by whoever redirects the stream elsewhere; device and inode tell.
    """
    with contextlib.suppress(ValueError, OSError):
        device, inode = (int(number) for number in env.get("JOURNAL_STREAM", "").split(":"))
        found = os.fstat(descriptor)
        return (found.st_dev, found.st_ino) == (device, inode)
    return False


class JournalHandler(logging.Handler):
    """Sends each record to the journal; what cannot be sent goes to `fallback`, never lost in silence."""

    def __init__(self, fallback: logging.Handler, path: Path | None = None) -> None:
        super().__init__()
        self._fallback = fallback
        self._path = str(path or SOCKET)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one event."""
        try:
            self._socket.sendto(encoded(self._fields(record)), self._path)
        except OSError:  # journald restarts, or is not there
            self._fallback.handle(record)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "AGENT_ROOM": record.name,
        }
        code: str | None = getattr(record, "agent_code", None)
        if code is not None:
            fields |= {"AGENT_CODE": code, "MESSAGE_ID": message_id(code)}
            facts: Mapping[str, str] = getattr(record, "agent_facts", {})
            fields |= {field_name(name): value for name, value in facts.items()}
        return fields


def priority(level: int) -> int:
    """Return syslog's priority for a level."""
    for at, number in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= at:
            return number
    return 7
