"""From what the configuration says of the port to an open line.

`auto` opens only what a udev rule of ours has named: any other serial adapter may belong to a medical
device, and nothing is ever written to a port that nobody has pointed at.
"""

from __future__ import annotations

import os

from drivers.errors import ReaderError, ReaderMissing
from drivers.transport import Transport
from drivers.transport.serial import SerialTransport

#: The stable name given by systemd/60-kiosk-agent.rules.
UDEV_LINK = "/dev/kiosk-agent/idcard"
#: Further forms of `reader.port` that this version does not serve yet.
NOT_SERVED = ("usb:", "replay:")


def open_transport(port: str) -> Transport:
    """Open the line that `port` names. ReaderError: missing, no permission, E1108 for a kind not served."""
    if port.startswith(NOT_SERVED):
        raise ReaderError("E1108", port=port)
    path = UDEV_LINK if port == "auto" else port
    if not os.path.exists(path):
        raise ReaderMissing(port=path)
    return SerialTransport(path)
