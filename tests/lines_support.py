"""Simulated readers at the far end of every line there is, in virtual time: what takes seconds costs none.

The line itself is real: a pty for the serial transport, a socket pair for the hidraw one, pyusb on a bus of
ours. Only who waits, waits in virtual time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import time
import tty
from collections import deque
from collections.abc import Callable
from typing import Protocol

from agent.simulate import portraits
from drivers.discovery import System, open_transport
from drivers.errors import ReaderMissing
from drivers.simulator.faults import Faults
from drivers.simulator.module import SimulatedModule
from drivers.simulator.usb import SHAPES, SimulatedUsb, UsbReader, VirtualTime, carried, packets
from drivers.transport import Transport
from drivers.transport.hid_framing import PLAIN, EnvelopeFraming, Framing, RawFraming, Reports
from drivers.transport.hidraw import HidrawTransport
from drivers.transport.serial import SerialTransport

#: Real seconds within which a byte written to one end of a pty is there at the other.
PATIENCE_S = 10.0
FRAMINGS: dict[str, Callable[[], Framing]] = {"hid": RawFraming, "envelope": EnvelopeFraming}


class Line(Protocol):
    """A reader and the line to it. Pulled out, it is back after a second of virtual time."""

    time: VirtualTime
    module: SimulatedModule
    port: str

    def open(self) -> Transport:
        """Open the host's end."""
        ...

    def close(self) -> None:
        """Take the reader's end away for good."""
        ...


class UsbLine:
    """A reader on a simulated bus."""

    def __init__(self, shape: str, faults: Faults | None = None) -> None:
        self.time = VirtualTime()
        self.module = SimulatedModule([], [portraits.path("collins")], faults)
        self.reader = UsbReader(self.module, shape)
        self.bus = SimulatedUsb(self.reader, time=self.time)
        self.system = System(serial_ports=list, usb_backend=self.bus)
        vendor, product = self.reader.description[:2]
        self.port = f"usb:{vendor:04X}:{product:04X}"

    def open(self) -> Transport:
        """Open it as the product does."""
        return open_transport(self.port, self.system)

    def close(self) -> None:
        """There is no end to it."""


class End(Protocol):
    """The reader's end of a real line."""

    def host(self) -> Transport:
        """Return the host's end, opened."""
        ...

    def take(self, count: int) -> bytes:
        """Return what the host has sent by writing `count` bytes."""
        ...

    def give(self, data: bytes) -> None:
        """Send to the host; on return it is there."""
        ...

    def close(self) -> None:
        """Let the line vanish."""
        ...


class PtyEnd:
    """A serial line."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)

    def host(self) -> Transport:
        return SerialTransport(os.ttyname(self._slave))

    def take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count and select.select([self._master], [], [], PATIENCE_S)[0]:
            taken += os.read(self._master, 4096)
        return taken

    def give(self, data: bytes) -> None:
        there = self._waiting() + len(data)
        os.write(self._master, data)
        # The kernel passes it on in a thread of its own.
        deadline = time.monotonic() + PATIENCE_S
        while self._waiting() < there and time.monotonic() < deadline:
            time.sleep(0)

    def _waiting(self) -> int:
        (count,) = struct.unpack("i", fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4)))
        return int(count)

    def close(self) -> None:
        os.close(self._slave)
        os.close(self._master)


class HidrawEnd:
    """A hidraw node: reports on a socket pair, framed as the reader of that shape does."""

    def __init__(self, shape: str, reports: Reports = PLAIN) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._framing, self._reports = FRAMINGS[shape](), reports
        self._reader = UsbReader(SimulatedModule([], []), shape)

    def host(self) -> Transport:
        return HidrawTransport(self._theirs.detach(), "hidraw", self._framing, self._reports)

    def take(self, count: int) -> bytes:
        taken = b""
        with contextlib.suppress(BlockingIOError):
            while report := self._ours.recv(200):
                taken += carried(self._reader, report[1:])
        return taken

    def give(self, data: bytes) -> None:
        head = b"" if self._reports.report_id is None else bytes((self._reports.report_id,))
        for _, packet in packets(self._reader, data):
            self._ours.send(head + packet)

    def close(self) -> None:
        self._ours.close()


class RealLine:
    """A module behind a real line, its answers given in virtual time."""

    def __init__(self, port: str, end: Callable[[], End], faults: Faults | None = None) -> None:
        self.time = VirtualTime()
        self.module = SimulatedModule([], [portraits.path("collins")], faults)
        self.port = port
        self._make = end
        self._end: End | None = None
        self._back_at = 0.0
        self._due: deque[tuple[float, bytes]] = deque()

    def open(self) -> Transport:
        """Open the host's end anew. ReaderMissing while it is pulled out."""
        if self.time.now() < self._back_at:
            raise ReaderMissing(port=self.port)
        if self._back_at:
            self._back_at = 0.0
            self.module.power_up()
        self.close()
        self._end = self._make()
        return _Host(self, self._end.host())

    def unplug(self) -> None:
        """Pull the line out for a second."""
        self.close()
        self._back_at = self.time.now() + 1.0

    def close(self) -> None:
        """Take the reader's end away."""
        end, self._end = self._end, None
        self._due.clear()
        if end is not None:
            end.close()

    def sent(self, count: int) -> None:
        """Let the module have what the host has just written."""
        if self._end is None:
            return
        at = self.time.now()
        for answer in self.module.receive(self._end.take(count)):
            at += answer.after_s
            self._due.append((at, answer.data))
        if self.module.wants_unplugging():
            self.unplug()

    def arrive(self, timeout_s: float) -> None:
        """Let virtual time pass until something is there for the host, for so long at the most."""
        limit = self.time.now() + timeout_s
        if self._end is not None and self._due and self._due[0][0] <= limit:
            at, data = self._due.popleft()
            self.time.sleep(at - self.time.now())
            self._end.give(data)
        else:
            self.time.sleep(timeout_s)


class _Host:
    """The host's real end, which waits in virtual time."""

    def __init__(self, line: RealLine, real: Transport) -> None:
        self._line, self._real = line, real

    def read(self, timeout_s: float) -> bytes:
        """Read what is there already, or what comes in time."""
        data = self._real.read(0.0)
        if not data:
            self._line.arrive(timeout_s)
            data = self._real.read(0.0)
        return data

    def write(self, data: bytes) -> None:
        """Write, and let the reader hear it."""
        self._real.write(data)
        self._line.sent(len(data))

    def close(self) -> None:
        """Close the host's end."""
        self._real.close()


def hidraw(shape: str, faults: Faults | None = None, reports: Reports = PLAIN) -> RealLine:
    """Return a line to a HID reader's node."""
    return RealLine("/dev/hidraw0", lambda: HidrawEnd(shape, reports), faults)


#: Every line by the name of its transport and of how bytes travel on it.
LINES: dict[str, Callable[[Faults], Line]] = {
    "serial": lambda faults: RealLine("/dev/ttyUSB0", PtyEnd, faults),
    **{f"usb {shape}": lambda faults, shape=shape: UsbLine(shape, faults) for shape in SHAPES},  # type: ignore[misc]
    **{f"hidraw {shape}": lambda faults, shape=shape: hidraw(shape, faults) for shape in FRAMINGS},  # type: ignore[misc]
}
