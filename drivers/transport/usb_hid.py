"""Readers that call themselves HID, over their interrupt endpoints, where no hidraw node can be had."""

from __future__ import annotations

from typing import Any

from drivers.errors import ReaderError
from drivers.transport.hid_framing import PLAIN, Framing, Reports
from drivers.transport.usb import UsbInterface, endpoints, interfaces

_INTERRUPT = 3
#: Reports of filling that are passed over within one read.
FILLING = 4


def open_hid(device: Any, name: str, framing: Framing, reports: Reports = PLAIN) -> HidTransport:
    """Open a HID reader. ReaderError E1110 for a device without an interrupt IN endpoint."""
    for interface in interfaces(device, name):
        inward, outward = endpoints(interface, _INTERRUPT)
        if inward:
            out = outward[0] if outward else None
            return HidTransport(UsbInterface(device, interface, name), inward[0], out, framing, reports)
    raise ReaderError("E1110", port=name)


class HidTransport:
    """Bytes in interrupt reports."""

    def __init__(
        self, interface: UsbInterface, inward: Any, outward: Any, framing: Framing, reports: Reports
    ) -> None:
        self._interface = interface
        self._in, self._out = inward, outward
        self._framing = framing
        self._reports = reports

    def read(self, timeout_s: float) -> bytes:
        """Return what the next report carries, b"" for none."""
        for _ in range(FILLING):
            report = self._interface.read(self._in, timeout_s)
            carried = self._framing.unwrap(self._reports.received(report)) if report else b""
            if carried or not report:
                return carried
        return b""

    def write(self, data: bytes) -> None:
        """Send bytes in as many reports as they need."""
        for payload in self._framing.wrap(data):
            report = self._reports.sent(payload)
            if self._reports.report_id is None:
                report = report[1:]
            if self._out is None:
                self._interface.set_report(self._reports.report_id or 0, report)
            else:
                self._interface.write(self._out, report)

    def close(self) -> None:
        """Give the device back."""
        self._interface.close()
