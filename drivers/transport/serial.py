"""A serial line through pyserial: 115200 8N1, no flow control; USB bridges and ptys alike.

pyserial's `exclusive` is an advisory flock, which only others that ask respect; TIOCEXCL makes the kernel
refuse. On a pty neither low latency nor modem lines exist. What arrived before the open is flushed by it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import termios
from pathlib import Path

import serial
from serial.tools import list_ports

from drivers import access
from drivers.errors import ReaderBusy, ReaderError, ReaderMissing, ReaderPermission, ReaderUnplugged

BAUD = 115200
#: One read takes what is there, at most this much.
_CHUNK = 4096


class SerialTransport:
    """An open serial line."""

    def __init__(self, port: str, baud: int = BAUD) -> None:
        self._name = port
        self._port = _opened(port, baud)

    def read(self, timeout_s: float) -> bytes:
        """Return what arrives within `timeout_s`: at once when something does, b"" when nothing does."""
        try:
            self._port.timeout = timeout_s
            first = self._port.read(1)
            return bytes(first + self._port.read(min(self._port.in_waiting, _CHUNK))) if first else b""
        except (OSError, TypeError, termios.error) as error:
            # A line that vanishes shows as EIO, as an empty read or, closed meanwhile, as TypeError.
            raise ReaderUnplugged(port=self._name) from error

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            self._port.write(data)
        except (OSError, TypeError, termios.error) as error:
            raise ReaderUnplugged(port=self._name) from error

    def close(self) -> None:
        """Give the line back. Whoever else holds it open would keep it exclusive, and us out."""
        with contextlib.suppress(OSError, serial.SerialException):
            fcntl.ioctl(self._port.fileno(), termios.TIOCNXCL)
        with contextlib.suppress(OSError):
            self._port.close()


def _opened(port: str, baud: int) -> serial.Serial:
    # pyserial folds every cause into one exception whose text would have to be parsed: look first.
    if not os.path.exists(port):
        raise ReaderMissing(port=port)
    lacking = access.lacking(Path(port))
    if lacking is not None:
        raise ReaderPermission(port=port, reason=lacking)
    try:
        line = serial.Serial(port, baud, timeout=0, write_timeout=2, exclusive=True)
    except serial.SerialException as error:
        raise _reason(port, error) from error
    try:
        fcntl.ioctl(line.fileno(), termios.TIOCEXCL)
    except OSError as error:
        line.close()
        raise _reason(port, error) from error
    return line


def _reason(port: str, error: OSError) -> ReaderError:
    if error.errno in {errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO}:
        return ReaderMissing(port=port)
    if error.errno in {errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK}:
        return ReaderBusy(port=port, holder=access.named(access.holders(Path(port))))
    return ReaderPermission(port=port, reason=os.strerror(error.errno or errno.EIO))


def ports() -> list[tuple[str, str]]:
    """Return the machine's serial ports with what they call themselves. Opens none."""
    return [(port.device, port.description or "") for port in sorted(list_ports.comports())]
