"""Readers on a simulated USB bus: a pyusb backend, so that the driver's own way through pyusb is gone.

Four shapes, as the documents and public drivers have them:

    four      bulk OUT 02 and IN 81 for preamble and length, OUT 06 and IN 85 for the rest
    two       bulk OUT 02 and IN 81 for whole frames
    hid       64-byte interrupt reports, filled up with zeros
    envelope  64-byte interrupt packets, each with flag, number, length, result, counter and sum

Time is given from outside; with `VirtualTime` a fault that costs seconds costs none.
"""

from __future__ import annotations

import errno
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol

import usb.backend
from usb.core import USBError, USBTimeoutError

from drivers.simulator.module import SimulatedModule

PACKET = 64
_BULK, _INTERRUPT = 2, 3
#: shape -> (vendor, product, interface class, transfer type, IN endpoints, OUT endpoints)
SHAPES: dict[str, tuple[int, int, int, int, list[int], list[int]]] = {
    "four": (0x0400, 0xC35A, 0xFF, _BULK, [0x81, 0x85], [0x02, 0x06]),
    "two": (0x0400, 0xC35A, 0xFF, _BULK, [0x81], [0x02]),
    "hid": (0x2B8B, 0x2721, 0x03, _INTERRUPT, [0x81], [0x02]),
    "envelope": (0x10C4, 0x0007, 0x03, _INTERRUPT, [0x81], []),
}
_HEAD = 7
_ENVELOPE_DATA = 54


class Time(Protocol):
    """A clock that can be waited on."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class VirtualTime:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self._now = 1000.0

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self._now += max(0.0, seconds)


class RealTime:
    """The machine's own time."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(0.0, seconds))


@dataclass
class UsbReader:
    """One reader on the bus. `permitted` and `busy` are what the kernel would say."""

    module: SimulatedModule
    shape: str
    serial: str = ""
    permitted: bool = True
    busy: bool = False
    kernel_driver: bool = False
    #: An empty packet behind a reply that fills its last one: some readers send it, some do not.
    empty_packets: bool = False
    unplugged_s: float = 1.0
    plugged: bool = True
    address: int = 1
    ids: tuple[int, int] | None = None
    pipes: dict[int, deque[tuple[float, bytes]]] = field(default_factory=dict)
    replug_at: float | None = None
    counter: int = 0

    @property
    def description(self) -> tuple[int, int, int, int, list[int], list[int]]:
        """Return the row of its shape, under its own ids where it has some."""
        row = SHAPES[self.shape]
        return row if self.ids is None else (*self.ids, *row[2:])


class SimulatedUsb(usb.backend.IBackend):  # type: ignore[misc]  # pyusb has no types
    """A bus. Handed to pyusb as its backend."""

    def __init__(self, *readers: UsbReader, time: Time | None = None) -> None:
        self.readers = list(readers)
        self.time: Time = time or RealTime()
        for address, reader in enumerate(self.readers, start=2):
            reader.address = address

    # --- what the bus tells -------------------------------------------------------------------------

    def enumerate_devices(self) -> list[UsbReader]:
        """Return the readers that are plugged in."""
        return [reader for reader in self.readers if self._present(reader)]

    def get_parent(self, dev: UsbReader) -> None:
        """No hubs here."""
        return

    def get_device_descriptor(self, dev: UsbReader) -> SimpleNamespace:
        vendor, product = dev.description[:2]
        return _descriptor(
            idVendor=vendor,
            idProduct=product,
            bcdUSB=0x0110,
            bDeviceClass=0,
            bDeviceSubClass=0,
            bDeviceProtocol=0,
            bMaxPacketSize0=64,
            bcdDevice=0x0100,
            iManufacturer=0,
            iProduct=0,
            iSerialNumber=3 if dev.serial else 0,
            bNumConfigurations=1,
            bus=1,
            address=dev.address,
            port_number=None,
            port_numbers=None,
            speed=None,
        )

    def get_configuration_descriptor(self, dev: UsbReader, config: int) -> SimpleNamespace:
        if config:
            raise IndexError(config)
        facts = {"wTotalLength": 0, "bNumInterfaces": 1, "bConfigurationValue": 1, "iConfiguration": 0}
        return _descriptor(**facts, bmAttributes=0x80, bMaxPower=50)

    def get_interface_descriptor(self, dev: UsbReader, intf: int, alt: int, config: int) -> SimpleNamespace:
        if intf or alt or config:
            raise IndexError(intf)
        _, _, interface_class, _, inward, outward = dev.description
        facts = {"bInterfaceNumber": 0, "bAlternateSetting": 0, "bNumEndpoints": len(inward) + len(outward)}
        return _descriptor(
            **facts, bInterfaceClass=interface_class, bInterfaceSubClass=0, bInterfaceProtocol=0, iInterface=0
        )

    def get_endpoint_descriptor(
        self, dev: UsbReader, ep: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        _, _, _, kind, inward, outward = dev.description
        address = [*inward, *outward][ep]
        facts = {"bEndpointAddress": address, "bmAttributes": kind, "wMaxPacketSize": PACKET}
        return _descriptor(**facts, bInterval=1, bRefresh=0, bSynchAddress=0)

    # --- opening ------------------------------------------------------------------------------------

    def open_device(self, dev: UsbReader) -> tuple[UsbReader, int]:
        self._check(dev, dev.address)
        if not dev.permitted:
            raise USBError("Access denied", -3, errno.EACCES)
        return dev, dev.address

    def close_device(self, dev_handle: tuple[UsbReader, int]) -> None:
        """Nothing is held."""

    def get_configuration(self, dev_handle: tuple[UsbReader, int]) -> int:
        return 1

    def set_configuration(self, dev_handle: tuple[UsbReader, int], config_value: int) -> None:
        """There is but one."""

    def claim_interface(self, dev_handle: tuple[UsbReader, int], intf: int) -> None:
        dev = self._check(*dev_handle)
        if dev.busy or dev.kernel_driver:
            raise USBError("Resource busy", -6, errno.EBUSY)

    def release_interface(self, dev_handle: tuple[UsbReader, int], intf: int) -> None:
        self._check(*dev_handle)

    def is_kernel_driver_active(self, dev_handle: tuple[UsbReader, int], intf: int) -> bool:
        return self._check(*dev_handle).kernel_driver

    def detach_kernel_driver(self, dev_handle: tuple[UsbReader, int], intf: int) -> None:
        self._check(*dev_handle).kernel_driver = False

    def attach_kernel_driver(self, dev_handle: tuple[UsbReader, int], intf: int) -> None:
        self._check(*dev_handle).kernel_driver = True

    def clear_halt(self, dev_handle: tuple[UsbReader, int], ep: int) -> None:
        self._check(*dev_handle)

    # --- transfers ----------------------------------------------------------------------------------

    def bulk_write(
        self, dev_handle: tuple[UsbReader, int], ep: int, intf: int, data: Any, timeout: int
    ) -> int:
        dev, sent = self._check(*dev_handle), bytes(data)
        self._receive(dev, carried(dev, sent))
        return len(sent)

    intr_write = bulk_write

    def bulk_read(
        self, dev_handle: tuple[UsbReader, int], ep: int, intf: int, buff: Any, timeout: int
    ) -> int:
        dev, limit = self._check(*dev_handle), self.time.now() + timeout / 1000
        pipe = dev.pipes.setdefault(ep, deque())
        if not pipe or pipe[0][0] > limit:
            self.time.sleep(limit - self.time.now())
            self._check(*dev_handle)
            raise USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
        due, packet = pipe.popleft()
        self.time.sleep(due - self.time.now())
        buff[: len(packet)] = array("B", packet)
        return len(packet)

    intr_read = bulk_read

    def ctrl_transfer(
        self,
        dev_handle: tuple[UsbReader, int],
        bmRequestType: int,  # noqa: N803 -- pyusb's own names
        bRequest: int,  # noqa: N803
        wValue: int,  # noqa: N803
        wIndex: int,  # noqa: N803
        data: Any,
        timeout: int,
    ) -> int:
        dev = self._check(*dev_handle)
        if (bmRequestType, bRequest) == (0x21, 0x09):  # HID SET_REPORT
            self._receive(dev, carried(dev, bytes(data)))
            return len(data)
        text = dev.serial.encode("utf-16-le") if wValue & 0xFF else b"\x09\x04"
        answer = bytes((2 + len(text), 3)) + text
        data[: len(answer)] = array("B", answer)
        return len(answer)

    # --- the reader's end ---------------------------------------------------------------------------

    def _receive(self, dev: UsbReader, data: bytes) -> None:
        due, reply = self.time.now(), b""
        for sent in dev.module.receive(data):
            due += sent.after_s
            reply += sent.data
        for endpoint, packet in packets(dev, reply):
            dev.pipes.setdefault(endpoint, deque()).append((due, packet))
        if dev.module.wants_unplugging():
            self.unplug(dev)

    def unplug(self, dev: UsbReader, for_s: float | None = None) -> None:
        """Take a reader off the bus; it comes back under another address."""
        dev.plugged, dev.pipes = False, {}
        dev.replug_at = self.time.now() + (dev.unplugged_s if for_s is None else for_s)

    def _present(self, dev: UsbReader) -> bool:
        if not dev.plugged and dev.replug_at is not None and self.time.now() >= dev.replug_at:
            dev.plugged, dev.replug_at = True, None
            dev.address += 1
            dev.module.power_up()
        return dev.plugged

    def _check(self, dev: UsbReader, address: int) -> UsbReader:
        if not self._present(dev) or dev.address != address:
            raise USBError("No such device (it may have been disconnected)", -4, errno.ENODEV)
        return dev


def carried(dev: UsbReader, sent: bytes) -> bytes:
    """Return what a transfer to the reader carries for its module."""
    if dev.shape != "envelope":
        return sent
    length = sent[3] | sent[4] << 8
    content = sent[3 : 5 + length]
    total = sum(content) & 0xFFFF
    well = sent[0] == 0x88 and sent[5] == 0xB1 and sent[5 + length] | sent[6 + length] << 8 == total
    return sent[6 : 5 + length] if well else b""


def packets(dev: UsbReader, reply: bytes) -> list[tuple[int, bytes]]:
    """Return the packets that carry a reply, each with its endpoint."""
    if dev.shape == "four":
        return [*_cut(dev, 0x81, reply[:_HEAD]), *_cut(dev, 0x85, reply[_HEAD:])]
    if dev.shape == "two":
        return _cut(dev, 0x81, reply)
    if dev.shape == "hid":
        return [(0x81, packet.ljust(PACKET, b"\0")) for _, packet in _cut(dev, 0x81, reply)]
    pieces = [reply[start : start + _ENVELOPE_DATA] for start in range(0, len(reply), _ENVELOPE_DATA)]
    return [(0x81, _enveloped(dev, number, piece)) for number, piece in enumerate(pieces)]


def _cut(dev: UsbReader, endpoint: int, data: bytes) -> list[tuple[int, bytes]]:
    cut = [(endpoint, data[start : start + PACKET]) for start in range(0, len(data), PACKET)]
    if dev.empty_packets and data and len(data) % PACKET == 0:
        cut.append((endpoint, b""))
    return cut


def _enveloped(dev: UsbReader, number: int, piece: bytes) -> bytes:
    dev.counter += 1
    content = b"\0" + number.to_bytes(2, "big") + piece
    counted = len(content).to_bytes(2, "little") + content
    packet = b"\xaa" + (dev.counter & 0xFFFF).to_bytes(2, "big") + counted
    return (packet + (sum(counted) & 0xFFFF).to_bytes(2, "little")).ljust(PACKET, b"\0")


def _descriptor(**facts: Any) -> SimpleNamespace:
    return SimpleNamespace(bLength=0, bDescriptorType=0, extra_descriptors=[], **facts)
