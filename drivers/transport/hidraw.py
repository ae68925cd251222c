"""Readers that call themselves HID, through the kernel's /dev/hidraw*: no driver is detached for it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from pathlib import Path

from drivers import access
from drivers.errors import ReaderMissing, ReaderPermission, ReaderUnplugged
from drivers.transport.hid_framing import PLAIN, Framing, Reports, parse_report_descriptor
from drivers.transport.usb_hid import FILLING


class HidrawTransport:
    """Bytes in the reports of an open hidraw node. Takes the descriptor over and closes it."""

    def __init__(self, descriptor: int, name: str, framing: Framing, reports: Reports = PLAIN) -> None:
        self._descriptor = descriptor
        self._name = name
        self._framing = framing
        self._reports = reports

    def read(self, timeout_s: float) -> bytes:
        """Return what the next report carries, b"" for none."""
        for _ in range(FILLING):
            report = self._report(timeout_s)
            carried = self._framing.unwrap(self._reports.received(report)) if report else b""
            if carried or not report:
                return carried
        return b""

    def write(self, data: bytes) -> None:
        """Send bytes in as many reports as they need."""
        for payload in self._framing.wrap(data):
            try:
                os.write(self._open(), self._reports.sent(payload))
            except OSError as error:
                raise ReaderUnplugged(port=self._name) from error

    def close(self) -> None:
        """Give the node back."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _report(self, timeout_s: float) -> bytes:
        try:
            readable, _, _ = select.select([self._open()], [], [], timeout_s)
            if not readable:
                return b""
            report = os.read(self._open(), self._reports.input_bytes + 1)
        except (OSError, ValueError) as error:
            raise ReaderUnplugged(port=self._name) from error
        if not report:
            raise ReaderUnplugged(port=self._name)
        return report

    def _open(self) -> int:
        if self._descriptor < 0:
            raise ReaderUnplugged(port=self._name)
        return self._descriptor


def open_hidraw(node: Path, sys_root: Path, framing: Framing) -> HidrawTransport:
    """Open a hidraw node. ReaderError: missing, no permission with the rule that is lacking."""
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            reason = access.lacking(node) or "no right to the HID device"
            raise ReaderPermission(port=node, reason=reason) from error
        raise ReaderMissing(port=node) from error
    described = sys_root / "class/hidraw" / node.name / "device/report_descriptor"
    try:
        reports = parse_report_descriptor(described.read_bytes())
    except OSError:
        reports = PLAIN
    return HidrawTransport(descriptor, str(node), framing, reports)
