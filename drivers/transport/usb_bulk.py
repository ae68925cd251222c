"""Readers on USB bulk pipes, in both shapes that are known. Which one it is the endpoints say.

    four pipes  OUT 02 and IN 81 carry preamble and length, OUT 06 and IN 85 the rest of each frame
                ("SAM communication protocol", tables 5 to 8)
    two pipes   whole frames on one OUT and one IN (public drivers)

Both shapes exist under the same 0400:C35A. Addresses other than those of the table are taken in their order.
"""

from __future__ import annotations

from typing import Any

from drivers.errors import ReaderError
from drivers.transport import Transport
from drivers.transport.usb import UsbInterface, endpoints, interfaces

_BULK = 2
#: Preamble and length: what travels on the first pair of pipes.
_HEAD = 7
#: What is left in a pipe comes within this, or not at all.
_STALE_S = 0.002


def open_bulk(device: Any, name: str) -> Transport:
    """Open a reader on bulk pipes. ReaderError E1110 for a device of neither shape, else no right, in use."""
    for interface in interfaces(device, name):
        inward, outward = endpoints(interface, _BULK)
        if len(inward) >= 2 and len(outward) >= 2:
            return FourPipes(UsbInterface(device, interface, name), inward, outward)
        if inward and outward:
            return TwoPipes(UsbInterface(device, interface, name), inward[0], outward[0])
    raise ReaderError("E1110", port=name)


class TwoPipes:
    """Whole frames each way."""

    def __init__(self, interface: UsbInterface, inward: Any, outward: Any) -> None:
        self._interface = interface
        self._in, self._out = inward, outward

    def read(self, timeout_s: float) -> bytes:
        """Return the next packet, b"" for none."""
        return self._interface.read(self._in, timeout_s)

    def write(self, data: bytes) -> None:
        """Send a frame."""
        self._interface.write(self._out, data)

    def close(self) -> None:
        """Give the device back."""
        self._interface.close()


class FourPipes:
    """Heads and bodies on pipes of their own. Read in turn, they make frames again."""

    def __init__(self, interface: UsbInterface, inward: list[Any], outward: list[Any]) -> None:
        self._interface = interface
        self._head_in, self._body_in = inward[:2]
        self._head_out, self._body_out = outward[:2]
        self._in_body = False

    def read(self, timeout_s: float) -> bytes:
        """Return the next packet of the pipe whose turn it is, b"" for none."""
        if self._in_body:
            packet = self._interface.read(self._body_in, timeout_s)
            # A full packet may have another behind it; if not, the next command turns to the heads again.
            self._in_body = len(packet) == self._body_in.wMaxPacketSize
            return packet
        packet = self._interface.read(self._head_in, timeout_s)
        if packet:
            self._in_body = True
            return packet
        # A body whose head was heard long ago must not be taken for the next one's.
        return self._interface.read(self._body_in, _STALE_S)

    def write(self, data: bytes) -> None:
        """Send a frame: its head, then its body."""
        self._in_body = False
        self._interface.write(self._head_out, data[:_HEAD])
        self._interface.write(self._body_out, data[_HEAD:])

    def close(self) -> None:
        """Give the device back."""
        self._interface.close()
