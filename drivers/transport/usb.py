"""A claimed interface of a USB device through pyusb, its errors told apart. No framing, no protocol."""

from __future__ import annotations

import contextlib
import errno
from typing import Any

from drivers import access
from drivers.errors import ReaderBusy, ReaderError, ReaderPermission, ReaderUnplugged

WRITE_S = 2.0
_IN = 0x80


class UsbInterface:
    """One interface, ours alone while it is open."""

    def __init__(self, device: Any, interface: Any, name: str) -> None:
        self._device = device
        self._number = int(interface.bInterfaceNumber)
        self._name = name
        self._open = True
        self._detached = False
        with self._told():
            # usbhid claims whatever calls itself HID; bulk readers have no driver in the kernel.
            with contextlib.suppress(NotImplementedError):
                if device.is_kernel_driver_active(self._number):
                    device.detach_kernel_driver(self._number)
                    self._detached = True
            _util().claim_interface(device, self._number)

    def read(self, endpoint: Any, timeout_s: float) -> bytes:
        """Return one packet, b"" when none comes in time.

        One at a time: a reply that fills its last packet may or may not be followed by an empty one, and
        whoever waits for a short packet then waits out the whole limit.
        """
        # libusb takes 0 for "for ever".
        limit_ms = max(1, round(timeout_s * 1000))
        with self._told():
            try:
                return bytes(
                    self._device.read(endpoint.bEndpointAddress, int(endpoint.wMaxPacketSize), limit_ms)
                )
            except _core().USBTimeoutError:
                return b""
            except _core().USBError as error:
                if error.errno == errno.EOVERFLOW:
                    return b""
                if error.errno != errno.EPIPE:
                    raise
                self._device.clear_halt(endpoint.bEndpointAddress)
                return b""

    def write(self, endpoint: Any, data: bytes) -> None:
        """Send all of `data`."""
        with self._told():
            self._device.write(endpoint.bEndpointAddress, data, round(WRITE_S * 1000))

    def set_report(self, report_id: int, payload: bytes) -> None:
        """Send an output report over the control pipe (HID 1.11, 7.2.2), where there is no OUT endpoint."""
        with self._told():
            self._device.ctrl_transfer(
                0x21, 0x09, 0x0200 | report_id, self._number, payload, round(WRITE_S * 1000)
            )

    def close(self) -> None:
        """Give the interface back, to the kernel's driver where it had one."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(_core().USBError, NotImplementedError):
            _util().release_interface(self._device, self._number)
            if self._detached:
                self._device.attach_kernel_driver(self._number)
        _util().dispose_resources(self._device)

    @contextlib.contextmanager
    def _told(self) -> Any:
        try:
            if not self._open:
                raise ReaderUnplugged(port=self._name)
            yield
        except _core().USBError as error:
            raise told(error, self._name) from error


def told(error: Any, name: str) -> ReaderError:
    """Return what a pyusb error means: no right, in use, gone."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ReaderPermission(port=name, reason=f"no right to the USB device; install {access.RULES}")
    if error.errno == errno.EBUSY:
        return ReaderBusy(port=name, holder=access.named([]))
    return ReaderUnplugged(port=name)


def interfaces(device: Any, name: str) -> list[Any]:
    """Return the interfaces of a device's configuration. ReaderError as `told`."""
    try:
        try:
            return list(device.get_active_configuration())
        except _core().USBError as error:
            if error.errno is not None:
                raise
            # Not configured yet; the kernel does that for a device that it has a driver for.
            device.set_configuration()
            return list(device.get_active_configuration())
    except _core().USBError as error:
        raise told(error, name) from error


def endpoints(interface: Any, kind: int) -> tuple[list[Any], list[Any]]:
    """Return an interface's endpoints of one transfer type, IN and OUT, by address."""
    found = sorted(
        (one for one in interface if one.bmAttributes & 3 == kind), key=lambda one: one.bEndpointAddress
    )
    inward = [one for one in found if one.bEndpointAddress & _IN]
    return inward, [one for one in found if not one.bEndpointAddress & _IN]


def _core() -> Any:
    import usb.core

    return usb.core


def _util() -> Any:
    import usb.util

    return usb.util
