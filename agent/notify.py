"""Telling systemd how we are: one datagram, no library (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

#: A manager that reads nothing must not hold up the loop that feeds its watchdog.
PATIENCE_S = 1.0


def notify(state: str, env: Mapping[str, str] = os.environ) -> None:
    """Send `state`, such as READY=1 or STATUS=...; does nothing where nobody listens."""
    address = env.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.settimeout(PATIENCE_S)
        sender.sendto(state.encode(), address)


def watchdog_interval_s(env: Mapping[str, str] = os.environ) -> float | None:
    """Return how often the watchdog wants to be fed (half its limit), None where there is none."""
    limit_us = env.get("WATCHDOG_USEC", "")
    if not limit_us.isdigit() or env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(limit_us) / 2_000_000
